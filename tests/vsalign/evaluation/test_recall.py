"""Recall of regions, against a plain loop and answers known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vsalign.boxes import box_iou
from vsalign.datasets.records import PhraseTruth
from vsalign.errors import VsalignError
from vsalign.evaluation.recall import evaluate_recall

WHOLE = [0, 0, 100, 100]


def phrase(boxes: list[list[float]], image_id: str = "a.jpg", kind: str = "people", side: int = 100) -> PhraseTruth:
    drawn = np.asarray(boxes, np.float32).reshape(-1, 4)
    return PhraseTruth(image_id, f"{image_id}#0", 0, 2, "a man", kind, drawn, side, side)


def test_a_phrase_is_met_by_a_region_on_the_union_of_its_boxes() -> None:
    two_men = phrase([[0, 0, 20, 50], [30, 0, 50, 50]])
    one = {"a.jpg": np.array([WHOLE, [0, 0, 20, 50], [30, 0, 50, 50]], np.float32)}
    both = {"a.jpg": np.array([WHOLE, [0, 0, 50, 50]], np.float32)}
    assert (evaluate_recall([two_men], one).total, evaluate_recall([two_men], both).total) == (0.0, 1.0)


def test_an_iou_of_exactly_one_half_meets() -> None:
    regions = {"a.jpg": np.array([WHOLE, [10, 10, 20, 30]], np.float32)}
    assert evaluate_recall([phrase([[10, 10, 20, 20]])], regions).total == 1.0
    assert evaluate_recall([phrase([[10, 10, 20, 19.9]])], regions).total == 0.0


def test_by_kind_and_by_the_number_of_regions_it_is_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (40, 2))
    truth = np.concatenate([corners, corners + rng.uniform(5, 40, (40, 2))], axis=1).astype(np.float32)
    near = truth + rng.uniform(-6, 6, truth.shape).astype(np.float32)
    regions = {f"{n}.jpg": np.concatenate([[WHOLE], np.roll(near, -n, axis=0)[:25]]) for n in range(4)}
    phrases = [phrase([box], f"{n % 4}.jpg", ["people", "scene"][n % 3 == 0]) for n, box in enumerate(truth.tolist())]

    found = evaluate_recall(phrases, regions)

    def plainly(kind: str, count: int) -> float:
        own = [each for each in phrases if kind in ("", each.kind)]
        return float(np.mean([box_iou(regions[each.image_id][:count], each.boxes).max() >= 0.5 for each in own]))

    assert found.total == plainly("", 26)
    assert found.by_kind == {kind: plainly(kind, 26) for kind in ("people", "scene")}
    assert found.by_count == {count: plainly("", count) for count in (1, 5, 10, 20)}
    assert found.by_count[1] < found.by_count[5] < found.by_count[20] < 1
    assert found.regions == 26 and sum(found.phrases.values()) == 40
    assert f"all          {100 * found.total:5.1f}  (40 phrases)" in str(found)


def test_what_cannot_be_measured_is_counted() -> None:
    regions = {"a.jpg": np.array([WHOLE], np.float32)}
    found = evaluate_recall([phrase([WHOLE]), phrase([]), phrase([WHOLE], "b.jpg")], regions)
    assert (found.total, found.without_boxes, found.missing_regions) == (1.0, 1, 1)
    with pytest.raises(VsalignError, match="none of 2 phrases can be measured"):
        evaluate_recall([phrase([]), phrase([WHOLE], "b.jpg")], regions)


def test_boxes_of_another_frame_are_refused() -> None:
    regions = {"a.jpg": np.array([WHOLE], np.float32)}
    with pytest.raises(VsalignError, match="of a picture of 200 x 200 px, but region 0"):
        evaluate_recall([phrase([WHOLE], side=200)], regions)
