"""Region descriptions against phrases of the same boxes, and dense-captioning mAP."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vsalign.datasets.records import PhraseTruth
from vsalign.errors import VsalignError
from vsalign.evaluation.region_descriptions import (
    IOU_THRESHOLDS,
    METEOR_THRESHOLDS,
    DescribedRegion,
    TrueRegion,
    dense_map,
    of_true_boxes,
    true_regions,
)


def phrase(image_id: str, text: str, *boxes: Any) -> PhraseTruth:
    return PhraseTruth(image_id, "c", 0, 1, text, "people", np.array(boxes, np.float32), 100, 100)


A, B, C = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 60, 20)


def test_a_box_has_the_phrases_that_mean_it_alone() -> None:
    phrases = [
        phrase("1", "a dog", A), phrase("1", "the dog", A), phrase("1", "a cat", B), phrase("1", "pets", A, B),
        phrase("1", "a tree", C), phrase("2", "a man", A), phrase("2", "a hat", B),
    ]  # fmt: skip

    found = true_regions(phrases)

    assert found == {"1": [TrueRegion(A, ("a dog", "the dog")), TrueRegion(B, ("a cat",)), TrueRegion(C, ("a tree",))]}
    assert set(true_regions(phrases, 2)) == {"1", "2"}


TRUTH = {"1": [TrueRegion(A, ("a dog",)), TrueRegion(B, ("a cat",))], "2": [TrueRegion(C, ("a tree",))]}


def test_a_true_box_has_the_description_of_its_own_region() -> None:
    described = {"1": [DescribedRegion(B, "cat", -1), DescribedRegion(A, "dog", -2)]}

    candidates, references = of_true_boxes(TRUTH, described)

    assert candidates == {"1 0": "dog", "1 1": "cat"}
    assert references == {"1 0": ["a dog"], "1 1": ["a cat"], "2 0": ["a tree"]}
    with pytest.raises(VsalignError, match="no true box was described itself"):
        of_true_boxes(TRUTH, {"1": [DescribedRegion((0, 0, 11, 11), "dog", -1)]})


def exact(candidates: list[str], references: list[list[str]]) -> list[float]:
    return [float(text in own) for text, own in zip(candidates, references, strict=True)]


def test_the_map_of_all_right_is_1_and_of_nothing_near_0() -> None:
    right = {
        image_id: [DescribedRegion(region.box, region.phrases[0], -1) for region in regions]
        for image_id, regions in TRUTH.items()
    }
    far = {"1": [DescribedRegion((80, 80, 90, 90), "a dog", -1)]}
    assert dense_map(TRUTH, right, exact) == 1
    assert dense_map(TRUTH, far, exact) == 0
    with pytest.raises(VsalignError, match="none of the images"):
        dense_map(TRUTH, {"9": right["1"]}, exact)


def test_the_map_is_that_of_a_plain_count() -> None:
    rng = np.random.default_rng(0)

    def box() -> tuple[float, float, float, float]:
        x, y, w, h = rng.uniform(0, 50, 4) + [0, 0, 10, 10]
        return float(x), float(y), float(x + w), float(y + h)

    truth = {str(n): [TrueRegion(box(), ("x",)) for _ in range(5)] for n in range(20)}
    described = {
        key: [DescribedRegion(tuple(np.add(region.box, rng.normal(0, 4, 4))), str(rng.uniform()), float(-rng.uniform()))
              for region in [*regions, *regions]]
        for key, regions in truth.items()
    }  # fmt: skip

    def meteor(candidates: list[str], references: list[list[str]]) -> list[float]:
        return [0.3 * float(text) for text in candidates]

    from vsalign.boxes import box_iou

    values = []
    for iou in IOU_THRESHOLDS:
        for low in METEOR_THRESHOLDS:
            rows = sorted((r.log_prob, key, r) for key, own in described.items() for r in own)[::-1]
            taken, hits = set(), []
            for _, key, region in rows:
                boxes = np.array([each.box for each in truth[key]], np.float32)
                ious = box_iou(boxes, np.array([region.box], np.float32))[:, 0]
                best = int(ious.argmax())
                good = ious[best] >= iou and 0.3 * float(region.caption) >= low and (key, best) not in taken
                taken |= {(key, best)} if good else set()
                hits.append(good)
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            values.append(sum(precision[n:].max() for n, hit in enumerate(hits) if hit) / 100)
    assert dense_map(truth, described, meteor) == pytest.approx(float(np.mean(values)), abs=1e-9)
    assert 0.1 < np.mean(values) < 0.9
