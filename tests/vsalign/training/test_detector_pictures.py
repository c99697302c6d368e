"""What a detector is trained on: targets of each picture by every kind of truth, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vsalign.datasets.records import PhraseTruth
from vsalign.errors import ConfigurationError, VsalignError
from vsalign.images import ImageInput
from vsalign.regions.detector import DetectorSizes, Target
from vsalign.training.detector_pictures import DetectorData, Pictures, batches, read_pictures, targets_of

SIZES = {"a.jpg": (200, 100), "b.jpg": (100, 100)}
CAPTIONS = {image_id: [(f"{image_id}#{n}", "a man") for n in range(5)] for image_id in SIZES}
SQUARE = DetectorSizes(input_size=128)
SMALL = DetectorSizes(input_size=64)


def phrase(image_id: str, number: int, boxes: list[list[float]], kind: str = "people") -> PhraseTruth:
    drawn = np.asarray(boxes, np.float32)
    return PhraseTruth(image_id, f"{image_id}#{number}", 0, 2, "a man", kind, drawn, *SIZES[image_id])


@pytest.fixture
def write(tmp_path: Path) -> Callable[[list[PhraseTruth]], DetectorData]:
    """Phrases as truth of pictures that nobody reads."""

    def made(phrases: list[PhraseTruth]) -> DetectorData:
        (tmp_path / "phrases.jsonl").write_text("".join(f"{each.to_json()}\n" for each in phrases))
        return DetectorData(ImageInput(str(tmp_path)), "", str(tmp_path / "phrases.jsonl"))

    return made


def test_boxes_and_unions_are_in_px_of_the_squashed_picture(write: Any) -> None:
    two_men = [[20.0, 10, 60, 90], [100, 10, 140, 90]]
    data = write([phrase("a.jpg", 0, two_men), phrase("a.jpg", 1, two_men), phrase("b.jpg", 0, [[0, 0, 50, 50]])])
    targets, counts, kinds = targets_of(data, CAPTIONS, SIZES, SQUARE)
    a, b = targets["a.jpg"], targets["b.jpg"]
    union = [12.8, 12.8, 89.6, 115.2]
    torch.testing.assert_close(a.phrases, torch.tensor([union, union]))
    expected = torch.tensor([[12.8, 12.8, 38.4, 115.2], union, [64.0, 12.8, 89.6, 115.2]])
    torch.testing.assert_close(a.boxes, expected, rtol=0, atol=0.01)
    assert (a.kinds.tolist(), a.sure) == ([[1.0], [1.0]], 5)
    assert b.boxes.tolist() == b.phrases.tolist() == [[0, 0, 64, 64]]
    assert (counts["truth_records"], kinds) == (3, {"people": 3})


def test_kinds_and_what_is_of_none_of_them(write: Any) -> None:
    boxes = [[[10.0 * n, 0, 10 * n + 10, 100]] for n in range(4)]
    kinds = ("people", "people/scene", "animals", "vehicles")
    data = write([phrase("a.jpg", n, box, kind) for n, (box, kind) in enumerate(zip(boxes, kinds, strict=True))])
    sizes = replace(SQUARE, kinds=("people", "scene"))
    target = targets_of(data, CAPTIONS, SIZES, sizes)[0]["a.jpg"]
    assert target.kinds.tolist() == [[1, 0], [1, 1]] and len(target.boxes) == len(target.phrases) == 2
    with_other = targets_of(data, CAPTIONS, SIZES, replace(SQUARE, kinds=("people", "scene", "other")))[0]["a.jpg"]
    assert with_other.kinds.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]]
    none, _, found = targets_of(data, CAPTIONS, SIZES, replace(SQUARE, kinds=("clothing",)))
    assert none == {} and found == dict.fromkeys(kinds, 1)


def test_what_is_too_thin_to_see_is_not_learned_from(write: Any) -> None:
    """Such a box has no logarithm of its width: the loss would be no number."""
    thin, seen = [50.0, 0, 50.5, 100], [10.0, 10, 40, 40]
    data = write([phrase("a.jpg", 0, [thin]), phrase("a.jpg", 1, [seen, thin]), phrase("b.jpg", 0, [[1, 2, 99, 2.4]])])
    targets = targets_of(data, CAPTIONS, SIZES, SQUARE)[0]
    assert list(targets) == ["a.jpg"]
    assert len(targets["a.jpg"].phrases) == 1 and len(targets["a.jpg"].boxes) == 2
    assert (targets["a.jpg"].boxes[:, 2:] - targets["a.jpg"].boxes[:, :2]).min() >= 1


def test_boxes_of_coco_and_visual_genome_are_sure_by_themselves(tmp_path: Path) -> None:
    coco = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 200, "height": 100}],
        "categories": [{"id": 1, "name": "dog", "supercategory": "animal"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [50, 25, 100, 50]}],
    }
    region = {"region_id": 1, "image_id": 7, "phrase": "a dog", "x": 50, "y": 25, "width": 100, "height": 50}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    (tmp_path / "regions.json").write_text(json.dumps([{"id": 7, "regions": [region]}]))
    for name, sizes, kind in (
        ("coco.json", SIZES, "animal"),
        ("regions.json", {"VG_100K/7.jpg": (200, 100)}, "region"),
    ):
        data = DetectorData(ImageInput(str(tmp_path)), "", str(tmp_path / name))
        captions = {image_id: [(f"{image_id}#0", "anything")] for image_id in sizes}
        targets, _, kinds = targets_of(data, captions, sizes, SQUARE)
        (target,) = targets.values()
        assert target.boxes.tolist() == target.phrases.tolist() == [[32, 32, 96, 96]]
        assert (target.sure, kinds) == (1, {kind: 1})


def test_a_mirrored_picture_has_its_boxes_mirrored() -> None:
    """The cell under a box holds the same before and after."""
    columns = torch.arange(16.0).expand(1, 1, 16, 16).contiguous()
    maps = [columns[..., ::step, ::step].to(torch.float16).numpy() for step in (1, 2, 4)]
    target = Target(torch.tensor([[0.0, 8, 8, 32]]), torch.tensor([[16.0, 0, 24, 128]]), torch.ones(1, 1), 5)
    pictures = Pictures(maps, [0], [target])
    (plain, *_), (same,) = pictures.batch([0])
    (turned, coarser, _), (moved,) = pictures.batch([0], [True])
    assert same is target
    assert moved.boxes.tolist() == [[120, 8, 128, 32]] and moved.phrases.tolist() == [[104, 0, 112, 128]]
    assert turned[0, 0, 0, 15] == plain[0, 0, 0, 0] == 0 and turned[0, 0, 0, 13] == plain[0, 0, 0, 2] == 2
    assert coarser[0, 0, 0].tolist() == [14, 12, 10, 8, 6, 4, 2, 0]
    (both, *_), _ = pictures.batch([0, 0], [False, True])
    assert torch.equal(both[0], plain[0]) and torch.equal(both[1], turned[0])


def test_batches_are_full_but_the_last() -> None:
    assert [len(batch) for batch in batches(range(35))] == [16, 16, 3]


@pytest.fixture
def photographs(tmp_path: Path) -> Callable[[str], DetectorData]:
    """Two grey photographs, and truth that is given."""
    for image_id, size in SIZES.items():
        Image.new("RGB", size, "grey").save(tmp_path / image_id)

    def made(truth: str) -> DetectorData:
        (tmp_path / "truth").mkdir()
        (tmp_path / "truth/phrases.jsonl").write_text(truth)
        return DetectorData(ImageInput(str(tmp_path)), "", str(tmp_path / "truth/phrases.jsonl"))

    return made


def test_maps_lie_where_the_targets_say(photographs: Any, tmp_path: Path) -> None:
    """A picture without truth is left out, and its place is nobody else's."""
    data = photographs(phrase("b.jpg", 0, [[0, 0, 50, 50]]).to_json())
    backbone = data.network(64)
    found = read_pictures(data, CAPTIONS, backbone, SMALL, tmp_path / "maps")
    assert len(found.truths) == 1
    counted = {name: found.counts[name] for name in ("pictures", "pictures_not_read", "pictures_without_phrase")}
    assert counted == {"pictures": 1, "pictures_not_read": 0, "pictures_without_phrase": 1}
    with torch.inference_mode():
        grey = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
        own = backbone.network.maps(grey)
    for given, expected in zip(found.batch([0])[0], own, strict=True):
        torch.testing.assert_close(given, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("truth", ["", phrase("a.jpg", 9, [[0, 0, 50, 50]]).to_json(), "no phrase"])
def test_pictures_without_any_truth_are_one_sentence(truth: str, photographs: Any, tmp_path: Path) -> None:
    data = photographs(truth)
    with pytest.raises(ConfigurationError, match="none of 2 pictures of the captions table is among") as error:
        read_pictures(data, CAPTIONS, data.network(64), SMALL, tmp_path / "maps")
    assert "\n" not in str(error.value) and data.truth in str(error.value)


def test_a_disk_that_is_too_small_is_found_before_the_first_picture(
    photographs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = namedtuple("disk", "total used free")
    needed = 2 * 2 * sum(width * side**2 for width, side in ((40, 8), (112, 4), (320, 2)))  # two pictures, two bytes
    data = photographs(phrase("b.jpg", 0, [[0, 0, 50, 50]]).to_json())
    for free, name in ((needed, "enough"), (needed - 1, "little")):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, free=free: disk(9e9, 0, free))
        if name == "enough":
            assert read_pictures(data, CAPTIONS, data.network(64), SMALL, tmp_path / name).truths
            continue
        with pytest.raises(VsalignError, match="need 0.0 GB, .*little has 0.0: set TMPDIR to a larger disk"):
            read_pictures(data, CAPTIONS, data.network(64), SMALL, tmp_path / name)
        assert list((tmp_path / name).iterdir()) == []
