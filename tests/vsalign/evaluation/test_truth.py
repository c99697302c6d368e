"""`vsalign evaluate recall --truth` with boxes that are of no caption: COCO's and Visual Genome's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vsalign.alignment import AlignmentModel, AlignmentModelConfig
from vsalign.checkpoint import save_model
from vsalign.cli import main
from vsalign.text import Vocabulary

BOXES = {"met": [0, 0, 10, 100], "missed": [40, 40, 50, 50], "empty": [5, 5, 0, 9], "outside": [200, 0, 9, 9]}
"""x, y, width, height px in a picture of 100 x 100 px, whose regions are the whole of it and its left edge."""


@pytest.fixture
def tables(tmp_path: Path, write_regions: Callable[..., str], write_captions: Callable[..., str]) -> list[str]:
    regions = write_regions(tmp_path / "regions", [{"1.jpg": np.ones((2, 4), np.float16)}])
    captions = write_captions(tmp_path / "captions", {"dev": {"1.jpg": ["a dog", "one more"], "2.jpg": ["a cat"]}})
    return ["--regions", regions, "--captions", captions]


@pytest.fixture
def truths(tmp_path: Path) -> dict[str, str]:
    annotations = [
        {"id": n, "image_id": 1, "category_id": 1 + (name == "missed"), "bbox": box}
        for n, (name, box) in enumerate(BOXES.items())
    ]
    coco = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 100, "height": 100}, {"id": 2, "file_name": "other.jpg"}],
        "categories": [{"id": 1, "name": "dog", "supercategory": "animal"}, {"id": 2, "name": "car"}],
        "annotations": [*annotations, {"id": 8, "image_id": 1, "category_id": 1, "iscrowd": 1, "bbox": [0, 0, 1, 1]}],
    }
    regions = [
        {"region_id": n, "image_id": 1, "phrase": name, **dict(zip(("x", "y", "width", "height"), box, strict=True))}
        for n, (name, box) in enumerate(BOXES.items())
    ]
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    (tmp_path / "visual_genome.json").write_text(json.dumps([{"id": 1, "regions": regions}]))
    return {name: str(tmp_path / f"{name}.json") for name in ("coco", "visual_genome")}


@pytest.mark.parametrize(
    ("name", "by_kind"), [("coco", {"animal": 1.0, "car": 0.0}), ("visual_genome", {"region": 0.5})]
)
def test_recall_counts_each_box_as_a_phrase(
    name: str, by_kind: dict[str, float], tables: list[str], truths: dict[str, str], tmp_path: Path, capsys
) -> None:
    out = tmp_path / "figures.json"
    assert main(["evaluate", "recall", *tables, "--truth", truths[name], "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert (figures["recall50"], figures["phrases"]) == (0.5, 2)
    assert {kind: figures[f"recall50_{kind}"] for kind in by_kind} == by_kind
    said = capsys.readouterr().out
    assert f"{name}: " in said and "errors 2" in said and "records 2" in said and "has no area" in said
    assert ("boxes_crowd 1" in said) == (name == "coco")


def test_a_phrase_of_no_caption_is_grounded_as_a_sentence_of_its_own(
    tables: list[str], truths: dict[str, str], tmp_path: Path
) -> None:
    words = Vocabulary(["a", "dog"])
    model = AlignmentModel(4, len(words), AlignmentModelConfig(h=8, hidden=6, word_dim=4))
    save_model(str(tmp_path / "model"), "alignment", model, words, {"name": "lite", "dim": 4}, {})
    out = tmp_path / "figures.json"
    options = [*tables, "--model", str(tmp_path / "model"), "--json", str(out), "--truth"]
    for truth in truths.values():
        assert main(["evaluate", "grounding", *options, truth]) == 0
        figures = json.loads(out.read_text())
        assert (figures["phrases"], figures["best_possible_iou"]) == (2, 0.5)


def test_what_is_no_truth_is_one_sentence(tables: list[str], tmp_path: Path, capsys) -> None:
    (tmp_path / "boxes.json").write_text('"boxes"')
    for name, said in (("boxes.json", "holds no phrases with boxes"), ("absent.json", "absent.json")):
        assert main(["evaluate", "recall", *tables, "--truth", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1 and error.startswith("error: ")
