"""From a folder of photographs to an index in one command, however often it is killed, and as the folder grows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.vsalign.search.conftest import SCENES, Archive
from vsalign.checkpoint import load_model, save_model
from vsalign.errors import ConfigurationError, MissingInputError, ModelError, TableError
from vsalign.generation import MRNN, DescriberConfig
from vsalign.regions.extract import RegionsShard
from vsalign.search import SearchIndex, photographs
from vsalign.search.photographs import holds_index, index_of_photographs, work_folder
from vsalign.storage import TableReader


@pytest.fixture
def small(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """How an archive's copy is indexed by small models, in shards of four."""
    alignment = load_model(archive.model, "alignment")
    torch.manual_seed(4)
    mrnn = MRNN(alignment.extractor["dim"], len(alignment.vocabulary), DescriberConfig(hidden=8, word_dim=8))
    save_model(str(tmp_path / "describer"), "describer", mrnn, alignment.vocabulary, alignment.extractor, {})
    monkeypatch.setattr(photographs, "model_folders", lambda *_: (str(tmp_path / "describer"),) * 2)
    monkeypatch.setattr(photographs, "SHARD", 4)
    shutil.copytree(archive.images, tmp_path / "photos")
    return {"images": str(tmp_path / "photos"), "work": str(tmp_path / "work"), "model": archive.model}


def found(index: str) -> list[tuple[str, str]]:
    opened = SearchIndex(index)
    hits = opened.search(opened.asker.sentence("a red circle"), 100)
    return sorted((hit.image_id, hit.caption) for hit in hits)


def test_all_pictures_are_found_with_their_captions(small: dict[str, Any]) -> None:
    index = index_of_photographs(**small)
    descriptions = TableReader(f"{small['work']}/descriptions", "descriptions").read(["image_id", "caption"])
    assert len(found(index)) == SCENES and holds_index(index)
    assert found(index) == sorted(zip(*(column.to_pylist() for column in descriptions.columns), strict=True))


def test_new_pictures_are_taken_in_and_nothing_else_is_made_again(
    small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = found(index_of_photographs(**small))
    folder = Path(small["images"])
    for number in range(5):
        shutil.copy(folder / "00010.jpg", folder / f"new/{number}.jpg") if number else (folder / "new").mkdir()
    made: list[str] = []
    add = RegionsShard.add
    monkeypatch.setattr(RegionsShard, "add", lambda self, each: (made.append(each.image_id), add(self, each))[1])
    after = found(index_of_photographs(**small))
    assert made == [f"new/{number}.jpg" for number in range(1, 5)]
    assert [each for each in after if each[0] not in made] == before and len(after) == SCENES + 4
    assert found(index_of_photographs(**small)) == after and len(made) == 4


def test_a_killed_run_goes_on(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    commit, count = RegionsShard.commit, [0]

    def killed(self: RegionsShard, *rest: Any) -> Any:
        count[0] += 1
        if count[0] == 2:
            raise KeyboardInterrupt
        return commit(self, *rest)

    monkeypatch.setattr(RegionsShard, "commit", killed)
    with pytest.raises(KeyboardInterrupt):
        index_of_photographs(**small)
    index = index_of_photographs(**small)
    assert len(found(index)) == SCENES
    whole = {**small, "work": small["work"] + "-undisturbed"}
    assert found(index) == found(index_of_photographs(**whole))


def test_a_picture_that_could_not_be_read_for_a_while_is_found_later(
    small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vsalign.errors import InputError, Reason
    from vsalign.images import locations

    read = locations.read_bytes

    def failing(uri: str, *rest: Any) -> bytes:
        if uri.endswith("00010.jpg"):
            raise InputError(Reason.READ_FAILED, f"{uri}: no", uri)
        return read(uri, *rest)

    monkeypatch.setattr(locations, "read_bytes", failing)
    assert "00010.jpg" not in dict(found(index_of_photographs(**small)))
    monkeypatch.setattr(locations, "read_bytes", read)
    after = dict(found(index_of_photographs(**small)))
    assert len(after) == SCENES and after["00010.jpg"]


def test_without_captions_no_describer_is_needed(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "model_folders", lambda *_: 1 / 0)
    plain = index_of_photographs(**small, captions=False)
    assert {caption for _, caption in found(plain)} == {""} and len(found(plain)) == SCENES


def test_captions_can_follow_later(small: dict[str, Any]) -> None:
    plain = index_of_photographs(**small, captions=False)
    index = index_of_photographs(**small)
    assert index != plain and all(caption for _, caption in found(index))


def test_describers_of_another_extractor_are_refused(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    other = load_model(photographs.model_folders("", "")[0], "describer")
    url = small["work"] + "-other"
    save_model(url, "describer", other.model, other.vocabulary, {**other.extractor, "input_size": 96}, {})
    monkeypatch.setattr(photographs, "model_folders", lambda *_: (url, url))
    with pytest.raises(ModelError, match="--no-captions"):
        index_of_photographs(**small)


def test_a_work_folder_among_the_pictures_is_refused(small: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="--work .* lies among the pictures"):
        index_of_photographs(**{**small, "work": f"{small['images']}/work"})


def test_a_work_folder_of_other_pictures_is_refused(small: dict[str, Any]) -> None:
    index_of_photographs(**small)
    with pytest.raises(ConfigurationError, match="another folder by --work"):
        index_of_photographs(**{**small, "images": f"{small['images']}/holiday"})


def test_work_is_done_here_or_beside_pictures_that_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos/deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert work_folder("photos") == work_folder(f"{tmp_path}/photos/") == f"{tmp_path}/photos.vsalign"
    assert work_folder("/else/where/album.zip") == f"{tmp_path}/album.zip.vsalign"
    monkeypatch.chdir(tmp_path / "photos/deep")
    assert work_folder("..") == f"{tmp_path}/photos.vsalign"


def test_what_is_no_index_is_told_apart(archive: Archive, tmp_path: Path) -> None:
    assert holds_index(archive.index) and not holds_index(archive.images) and not holds_index(str(tmp_path / "none"))
    with pytest.raises(TableError, match="regions table"):
        holds_index(archive.regions)
    with pytest.raises(MissingInputError):
        index_of_photographs(str(tmp_path / "none"), work=str(tmp_path / "work"), model=archive.model, captions=False)
