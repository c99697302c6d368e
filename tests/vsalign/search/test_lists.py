"""Inverted lists name those that may be the best; what is found is scored as without them."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from tests.vsalign.search.random_archive import A_SHARD, IMAGES, SENTENCES, regions_rows, write_regions
from vsalign import cli
from vsalign.errors import MissingInputError, TableError, VsalignError
from vsalign.search import Question, SearchIndex, Wanted, lists
from vsalign.search.building import IndexOptions, build_index
from vsalign.search.removed import remove
from vsalign.search.server.opened import OpenIndex
from vsalign.storage import Folder


@pytest.fixture(autouse=True)
def of_few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "LEAST_IMAGES", 1)
    monkeypatch.setattr(lists, "LISTS", 0.5)
    monkeypatch.setattr("vsalign.search.index.CANDIDATES_SHARE", 1.0)


@pytest.fixture(params=["int8", "float16"])
def listed(made: IndexOptions, request: pytest.FixtureRequest) -> IndexOptions:
    """Options whose index has lists."""
    options = IndexOptions(**{**vars(made), "dim": 16, "precision": request.param, "lists": True})
    assert build_index(options) == 0
    return options


def found(index: SearchIndex, k: int, wanted: Wanted, exact: bool) -> list[list[tuple[int, float]]]:
    questions = [Question(index.asker.sentence(sentence), wanted) for sentence in SENTENCES]
    return [[(each.number, each.score) for each in best] for best in index.find(questions, k, exact=exact)]


def assert_the_same(through: list[list[tuple[int, float]]], whole: list[list[tuple[int, float]]]) -> None:
    for some, every in zip(through, whole, strict=True):
        assert [number for number, _ in some] == [number for number, _ in every]
        np.testing.assert_allclose([score for _, score in some], [score for _, score in every], atol=1e-5)


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(path="work"), Wanted(path="*/006 *"), Wanted(path="nowhere")])
@pytest.mark.parametrize("k", [1, 5, IMAGES])
def test_what_all_candidates_give_is_what_all_images_give(listed: IndexOptions, k: int, wanted: Wanted) -> None:
    remove(Folder(listed.output), [row["image_id"] for row in regions_rows(range(0, IMAGES, 4))])
    index = SearchIndex(listed.output)
    assert index.lists is not None and index.lists.images == IMAGES
    assert SearchIndex(listed.output, lists=False).lists is None
    assert_the_same(found(index, k, wanted, False), found(index, k, wanted, True))


def test_few_regions_make_few_candidates_and_their_scores_are_exact(
    listed: IndexOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "NEAREST", 6)
    monkeypatch.setattr(lists, "NEAREST_A_RESULT", 1)
    monkeypatch.setattr("vsalign.search.index.CANDIDATES_A_RESULT", 1)
    monkeypatch.setattr("vsalign.search.index.CANDIDATES_AT_ONCE", 4)
    index = SearchIndex(listed.output)
    assert index.lists is not None
    words = [index.asker.sentence(sentence).asked.words for sentence in SENTENCES]
    candidates = index.lists.candidates(words, 1)
    assert all(1 <= len(some) <= 6 * len(of) for some, of in zip(candidates, words, strict=True))
    assert min(map(len, candidates)) < IMAGES / 2
    together = found(index, 1, Wanted(), False)
    everything = found(index, IMAGES, Wanted(), True)
    for some, best, whole in zip(candidates, together, everything, strict=True):
        ((number, score),) = best
        scores = dict(whole)
        assert number == max(some.tolist(), key=lambda each: scores[each])
        assert score == pytest.approx(scores[number], abs=1e-5)


def test_filters_that_leave_few_candidates_are_answered_by_the_whole_index(
    listed: IndexOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "NEAREST", 4)
    monkeypatch.setattr(lists, "NEAREST_A_RESULT", 0)
    index = SearchIndex(listed.output)
    assert_the_same(found(index, 9, Wanted(path="work"), False), found(index, 9, Wanted(path="work"), True))


def test_what_came_since_is_found_before_and_after_the_lists_take_it_in(
    listed: IndexOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "GROWTH", 2)
    before = SearchIndex(listed.output).lists
    for more, trained_on in ((2, IMAGES), (12, IMAGES + 12 * A_SHARD)):
        images = IMAGES + more * A_SHARD
        write_regions(listed.regions, images)
        assert build_index(IndexOptions(**{**vars(listed), "lists": False, "refresh": True})) == 0
        for expected in (before.images if before else 0, images):
            index = SearchIndex(listed.output)
            assert index.lists is not None and index.lists.images == expected
            assert_the_same(found(index, images, Wanted(), False), found(index, images, Wanted(), True))
            assert build_index(listed) == 0
        assert index.lists.trained_on == trained_on
        before = index.lists
    assert len([path for path in Path(listed.output).iterdir() if path.suffix == ".faiss"]) == 1


def test_an_index_made_anew_has_no_lists_until_they_are_made(listed: IndexOptions) -> None:
    again = {**vars(listed), "lists": False, "overwrite": True}
    assert build_index(IndexOptions(**again)) == 0
    assert SearchIndex(listed.output).lists is None
    assert build_index(IndexOptions(**{**again, "lists": True, "dim": 8})) == 0
    assert SearchIndex(listed.output).lists is not None


def test_a_build_that_is_killed_leaves_the_lists_that_were_there(
    listed: IndexOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_regions(listed.regions, IMAGES + A_SHARD)
    replace = Folder.replace
    asked = itertools.count()

    def dies(folder: Folder, name: str, data: bytes) -> None:
        if name == lists.FACTS and next(asked) == 0:
            raise KeyboardInterrupt
        replace(folder, name, data)

    monkeypatch.setattr(Folder, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        build_index(IndexOptions(**{**vars(listed), "refresh": True}))
    left_behind = Path(listed.output, f".lists-{'0' * 12}.faiss.{'0' * 32}.tmp")
    left_behind.write_bytes(b"half")
    index = SearchIndex(listed.output)
    assert index.lists is not None and (index.lists.images, len(index)) == (IMAGES, IMAGES + A_SHARD)
    assert build_index(listed) == 0
    held = SearchIndex(listed.output).lists
    assert held is not None and held.images == IMAGES + A_SHARD and not left_behind.exists()
    assert len([path for path in Path(listed.output).iterdir() if path.suffix == ".faiss"]) == 1


def test_damaged_lists_and_a_missing_library_are_one_sentence(
    listed: IndexOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = Path(listed.output).glob("*.faiss")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(TableError, match="damaged: make them again"):
        SearchIndex(listed.output)
    assert build_index(listed) == 0
    (file,) = Path(listed.output).glob("*.faiss")
    whole = bytearray(file.read_bytes())
    whole[-50] ^= 1
    file.write_bytes(whole)
    with pytest.raises(TableError, match="damaged: make them again"):
        SearchIndex(listed.output)
    Path(listed.output, lists.FACTS).write_text('{"file":')
    with pytest.raises(TableError, match="damaged: make them again"):
        SearchIndex(listed.output)
    assert build_index(listed) == 0 and SearchIndex(listed.output).lists is not None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingInputError, match=r"pip install 'vsalign\[search\]'"):
        SearchIndex(listed.output)
    other = IndexOptions(**{**vars(listed), "output": listed.output + "-other"})
    with pytest.raises(MissingInputError, match="need FAISS"):
        build_index(other)
    assert not Path(other.output).exists(), "it is said before the work is done"


def test_lists_that_are_replaced_while_they_are_opened_are_opened(
    listed: IndexOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_regions(listed.regions, IMAGES + A_SHARD)
    opens, asked = Folder.open, itertools.count()

    def after_another_run(folder: Folder, name: str) -> object:
        if name.endswith(".faiss") and next(asked) == 0:
            assert build_index(IndexOptions(**{**vars(listed), "refresh": True})) == 0
        return opens(folder, name)

    index = SearchIndex(listed.output, lists=False)
    monkeypatch.setattr(Folder, "open", after_another_run)
    held = lists.read_lists(index.table, index.asker.space)
    assert held is None or held.images == IMAGES


def test_two_runs_at_once_leave_lists_that_can_be_opened(listed: IndexOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    write_regions(listed.regions, IMAGES + A_SHARD)
    replace, asked = Folder.replace, itertools.count()

    def after_the_other(folder: Folder, name: str, data: bytes) -> None:
        if name == lists.FACTS and next(asked) == 0:
            assert lists.write_lists(listed.output) == IMAGES + A_SHARD
        replace(folder, name, data)

    monkeypatch.setattr(Folder, "replace", after_the_other)
    assert build_index(IndexOptions(**{**vars(listed), "refresh": True})) == 0
    held = SearchIndex(listed.output).lists
    assert held is not None and held.images == IMAGES + A_SHARD


def test_a_folder_that_is_no_index_keeps_its_files(made: IndexOptions) -> None:
    own = Path(made.output, lists.FACTS)
    own.parent.mkdir(parents=True)
    own.write_text("[]")
    with pytest.raises(VsalignError):
        build_index(IndexOptions(**{**vars(made), "overwrite": True}))
    assert own.read_text() == "[]"


def test_many_candidates_are_no_fewer_than_everything(listed: IndexOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    index = SearchIndex(listed.output)
    whole = found(index, 5, Wanted(), True)
    monkeypatch.setattr("vsalign.search.index.CANDIDATES_SHARE", 0.1)
    monkeypatch.setattr("vsalign.search.index.gathered", None)
    assert_the_same(found(index, 5, Wanted(), False), whole)


def test_lists_lie_in_any_store(listed: IndexOptions) -> None:
    url = "memory://listed/index"
    store = Folder(url)
    for path in Path(listed.output).rglob("*"):
        if path.is_file():
            store.write_new(str(path.relative_to(listed.output)), path.read_bytes())
    lists.remove_lists(store)
    assert SearchIndex(url).lists is None
    assert lists.write_lists(url) == IMAGES
    assert_the_same(found(SearchIndex(url), 5, Wanted(), False), found(SearchIndex(url), 5, Wanted(), True))


def test_a_server_s_index_takes_in_new_lists(made: IndexOptions) -> None:
    build_index(made)
    opened = OpenIndex(made.output, lambda: SearchIndex(made.output), seconds=0.05)
    try:
        assert opened.current().lists is None
        lists.write_lists(made.output)
        until = time.monotonic() + 20
        while opened.current().lists is None:
            assert time.monotonic() < until
    finally:
        opened.close()


def test_a_small_index_has_none_and_says_so(
    made: IndexOptions, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "LEAST_IMAGES", 1000)
    given = ["--regions", made.regions, "--model", made.model, "--output", made.output, "--dim", "8", "--lists"]
    assert cli.main(["index", *given]) == 0
    assert "none: under" in capsys.readouterr().out and not list(Path(made.output).glob("*.faiss"))
