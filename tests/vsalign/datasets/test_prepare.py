"""From lines of a captions file to rows: which picture, which split, which words, and nothing made up."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from vsalign import tables
from vsalign.datasets import CaptionRecord
from vsalign.datasets.prepare import (
    CAPTION_PLAN,
    ImageNames,
    caption_row,
    captions_per_image,
    held_out,
    plan_captions,
    prepare_shard,
)
from vsalign.errors import ConfigurationError, InputError, Reason
from vsalign.storage import Output, Stage, TableReader


def record(name: str, split: str | None = "train", text: str = "A dog runs.", number: int = 0) -> CaptionRecord:
    return CaptionRecord(name, f"{name}#{number}", split, text, number + 1)


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("a/0001.jpg", "a/0001.jpg"),
        ("0002.jpg", "b/0002.jpg"),
        ("b/0002.jpg", "b/0002.jpg"),
        ("val2014/COCO_9.jpg", "COCO_9.jpg"),
        ("COCO_9.jpg", "COCO_9.jpg"),
        ("0002", "b/0002.jpg"),
        ("b/0002", "b/0002.jpg"),
        ("7.jpg", "train.v1.tar/x/7.jpg"),
        ("plain.jpg", "c/plain"),
        ("d.v1.jpg", "d.v1.jpg"),
        ("d.v2", "d.v2.jpg"),
    ],
)
def test_a_name_means_the_only_picture_that_ends_like_it(name: str, image_id: str) -> None:
    ids = ["a/0001.jpg", "b/0001.jpg", "a/0001.png", "b/0002.jpg", "COCO_9.jpg", "train.v1.tar/x/7.jpg", "c/plain"]
    assert ImageNames([*ids, "d.v1.jpg", "d.v2.jpg"]).match(name) == image_id


@pytest.mark.parametrize("name", ["0001.jpg", "0001"])
def test_an_ambiguous_name_lists_its_candidates_and_is_never_guessed(name: str) -> None:
    with pytest.raises(InputError) as raised:
        ImageNames(["a/0001.jpg", "b/0001.jpg", "a/0002.jpg"]).match(name)
    assert raised.value.reason is Reason.MISSING_IMAGE
    assert "ambiguous" in raised.value.message
    assert "a/0001.jpg, b/0001.jpg" in raised.value.message and "0002" not in raised.value.message


@pytest.mark.parametrize("name", ["x.jpg.1", "train2014/x.jpg", "x.png", "X.jpg", "ax.jpg", "x.jpg/y.jpg", "", "*.jpg"])
def test_a_name_that_no_picture_ends_like_is_missing(name: str) -> None:
    with pytest.raises(InputError, match="there is no picture") as raised:
        ImageNames(["val2014/x.jpg"]).match(name)
    assert raised.value.reason is Reason.MISSING_IMAGE


def test_matching_agrees_with_a_search_through_all_pictures() -> None:
    chance = random.Random(3)
    parts = ["a", "b", "1", "2.jpg", "2", "1.jpg", "1.png", "a.jpg"]
    ids = {"/".join(chance.choices(parts, k=chance.randint(1, 3))) for _ in range(60)}
    names = ImageNames(ids)

    def ends(long: list[str], short: list[str]) -> bool:
        return long[-len(short) :] == short

    def bare(path: list[str]) -> list[str]:
        stem, dot, _ = path[-1].rpartition(".")
        return [*path[:-1], stem if dot else path[-1]]

    def expected(name: str) -> str | None:
        given = name.split("/")
        if name in ids:
            return name
        whole = {i for i in ids if ends(i.split("/"), given) or ends(given, i.split("/"))}
        loose = set()
        for image_id in ids:
            there = image_id.split("/")
            for one, other in ((bare(there), given), (there, bare(given))):
                if bare(there) != there if one != there else bare(given) != given:
                    loose |= {image_id} if ends(one, other) or ends(other, one) else set()
        for found in (whole, loose):
            if found:
                return found.pop() if len(found) == 1 else None
        return None

    outcomes = []
    for _ in range(800):
        name = "/".join(chance.choices(parts, k=chance.randint(1, 3)))
        try:
            outcomes.append(names.match(name))
        except InputError:
            outcomes.append(None)
        assert outcomes[-1] == expected(name), name
    assert 50 < sum(outcome is not None for outcome in outcomes) < 750


def test_every_line_becomes_one_line_of_the_plan_in_order() -> None:
    items = [
        record("a.jpg"),
        InputError(Reason.BAD_LINE, "line 2 is broken", "captions.txt:2"),
        record("a.jpg.1", None, number=2),
        record("b.jpg", None, number=3),
        record("b.jpg", None, "None", number=4),
    ]
    plan = plan_captions(items, ImageNames(["a.jpg", "b.jpg", "c.jpg"]), uri="captions.txt")
    assert [line["reason"] for line in plan.lines] == [None, "BAD_LINE", "MISSING_IMAGE", "NO_SPLIT", "NO_SPLIT"]
    assert [line["uri"] for line in plan.lines] == [f"captions.txt:{number}" for number in range(1, 6)]
    assert plan.counts == {"images_without_caption": 2}
    assert [len(shard) for shard in plan.shards(2)] == [2, 2, 1]
    assert all(list(line) == CAPTION_PLAN.names for line in plan.lines)

    given = plan_captions(items, ImageNames(["a.jpg", "b.jpg"]), uri="captions.txt", default_split="dev")
    assert [(line["split"], line["reason"]) for line in given.lines[3:]] == [("dev", None)] * 2


def test_a_picture_in_two_splits_under_two_names_is_an_error() -> None:
    items = [record("a/1.jpg", "train"), record("1", "test")]
    with pytest.raises(ConfigurationError, match="a/1.jpg is in the split train .* and in test"):
        plan_captions(items, ImageNames(["a/1.jpg"]), uri="c.txt")


def test_tune_is_the_training_pictures_with_the_smallest_hash_of_their_name() -> None:
    names = [f"{number}.jpg" for number in range(50)]
    items = [record(name, "dev" if name < "2" else "train", number=k) for name in names for k in range(2)]
    order = sorted((n for n in names if n >= "2"), key=lambda n: hashlib.sha256(n.encode()).hexdigest())
    for seed in range(3):
        random.Random(seed).shuffle(items)
        plan = plan_captions(items, ImageNames(f"photos/{name}" for name in names), uri="c.txt", tune=7)
        tuned = [line["image_id"] for line in plan.lines if line["split"] == "tune"]
        assert sorted(tuned) == sorted([f"photos/{name}" for name in order[:7]] * 2)
        assert {line["split"] for line in plan.lines} == {"train", "dev", "tune"}
        assert plan.counts["images_in_tune"] == 7


def test_tune_grows_without_exchanging_pictures() -> None:
    captions = [(record(f"{number}.jpg"), f"{number}.jpg") for number in range(30)]
    assert held_out(captions, 9)[:5] == held_out(captions, 5)


def test_tune_is_refused_where_it_cannot_be_meant() -> None:
    with pytest.raises(ConfigurationError, match="none of the 1 training"):
        held_out([(record("a.jpg"), "a.jpg")], 1)
    with pytest.raises(ConfigurationError, match="tune already"):
        held_out([(record("a.jpg"), "a.jpg"), (record("b.jpg", "tune"), "b.jpg")], 1)


def line_of(text: str) -> dict[str, str | None]:
    return plan_captions([record("a.jpg", text=text)], ImageNames(["a.jpg"]), uri="c.txt").lines[0]


@pytest.mark.parametrize("text", ["None", "null", "NA", 'He said ""hi""', '"unclosed', "一只狗在跑", "كلب يجري"])
def test_a_strange_sentence_stays_as_it_is(text: str) -> None:
    row, cut = caption_row(line_of(text), 50)
    assert row["text"] == text and row["tokens"] and not cut


@pytest.mark.parametrize("text", ["...", "🐶🐕", "!?"])
def test_a_sentence_without_words_is_an_error(text: str) -> None:
    with pytest.raises(InputError) as raised:
        caption_row(line_of(text), 50)
    assert raised.value.reason is Reason.NO_WORDS


def test_words_beyond_the_limit_are_cut_and_the_text_is_not() -> None:
    text = " ".join(f"w{number}" for number in range(400))
    row, cut = caption_row(line_of(text), 50)
    assert row["tokens"] == text.split()[:50] and row["text"] == text and cut
    assert not caption_row(line_of(" ".join(["w"] * 50)), 50)[1]


def test_a_shard_accounts_for_every_line_and_counts_what_was_cut(tmp_path: Path) -> None:
    items = [record("a.jpg"), record("a.jpg", text="...", number=1), record("b.jpg", number=2)]
    items += [record("a.jpg", text="w " * 60, number=3)]
    plan = plan_captions(items, ImageNames(["a.jpg"]), uri="c.txt")
    output = Output(str(tmp_path), "captions", tables.CAPTIONS, "prepare_captions", {})
    stage = Stage(output)
    stage.plan(plan.shards(3), CAPTION_PLAN, plan.counts)
    results = [prepare_shard(output.read_plan(task), 50, output.open_shard(task)) for task in stage.pending()]
    assert [result.inputs for result in results] == [3, 1]
    summary = stage.finish()
    assert (summary.rows, summary.errors) == (2, {"MISSING_IMAGE": 1, "NO_WORDS": 1})
    assert summary.counts["captions_cut"] == 1
    table = TableReader(str(tmp_path), "captions").read()
    assert table["caption_id"].to_pylist() == ["a.jpg#0", "a.jpg#3"]


def test_captions_per_image_counts_pictures_by_their_captions() -> None:
    assert captions_per_image(["a", "b", "a", "c", "a", "c"]) == {1: 1, 2: 1, 3: 1}
