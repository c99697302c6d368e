"""Descriptions of regions against the phrases that people said of the same boxes.

BLEU and its like are over true boxes that were described themselves (paper, section 4.3). Dense-captioning mAP
(Johnson, Karpathy, Fei-Fei, "DenseCap", CVPR 2016) is over whatever regions were described: the mean, over IoU and
METEOR thresholds, of the average precision of descriptions that reach both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vsalign.boxes import box_iou
from vsalign.datasets.records import PhraseTruth
from vsalign.errors import VsalignError

MIN_BOXES = 3
"""Images with fewer described boxes are left out, as in the paper."""
SAME_BOX = 0.99
"""IoU from which a described region is the true box itself (files round)."""
IOU_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
METEOR_THRESHOLDS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)
"""Those of DenseCap."""


@dataclass(frozen=True)
class TrueRegion:
    """A box and what people said of it."""

    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 px."""
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class DescribedRegion:
    """A box and what a model says of it."""

    box: tuple[float, float, float, float]
    caption: str
    log_prob: float


def true_regions(phrases: Iterable[PhraseTruth], min_boxes: int = MIN_BOXES) -> dict[str, list[TrueRegion]]:
    """The boxes of each image that has `min_boxes` or more, with the phrases that stand for that box alone."""
    said: dict[str, dict[tuple[float, ...], list[str]]] = defaultdict(lambda: defaultdict(list))
    for phrase in phrases:
        if len(phrase.boxes) == 1:
            said[phrase.image_id][tuple(phrase.boxes[0].tolist())].append(phrase.text)
    return {
        image_id: [TrueRegion(box, tuple(texts)) for box, texts in boxes.items()]  # type: ignore[arg-type]
        for image_id, boxes in said.items()
        if len(boxes) >= min_boxes
    }


def of_true_boxes(
    truth: Mapping[str, Sequence[TrueRegion]], described: Mapping[str, Sequence[DescribedRegion]]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The description and the phrases of each true box, by `image_id box`; a box that was not described has no first.

    Raises VsalignError where no true box was described.
    """
    candidates: dict[str, str] = {}
    references: dict[str, list[str]] = {}
    for image_id, regions in truth.items():
        found = described.get(image_id, ())
        ious = _ious(regions, found)
        for number, region in enumerate(regions):
            references[f"{image_id} {number}"] = list(region.phrases)
            if len(found) and ious[number].max() >= SAME_BOX:
                candidates[f"{image_id} {number}"] = found[int(ious[number].argmax())].caption
    if not candidates:
        raise VsalignError(
            "no true box was described itself: extract the regions of these boxes (vsalign boxes writes them, for "
            "--extractor.boxes), and describe those"
        )
    return candidates, references


def dense_map(
    truth: Mapping[str, Sequence[TrueRegion]],
    described: Mapping[str, Sequence[DescribedRegion]],
    meteor: Callable[[list[str], list[list[str]]], list[float]],
) -> float:
    """Dense-captioning mAP, 0 to 1, over the images of `truth`; meteor: of texts against their references, each 0 to 1.

    Of a region the true box of highest IoU counts; of several regions on one true box, the likeliest is right.
    Raises VsalignError where no image was described.
    """
    confidence: list[float] = []
    overlap: list[float] = []
    place: list[int] = []
    candidates: list[str] = []
    references: list[list[str]] = []
    total = 0
    for image_id, regions in truth.items():
        found = described.get(image_id, ())
        ious = _ious(regions, found)
        for number, region in enumerate(found):
            best = int(ious[:, number].argmax())
            confidence.append(region.log_prob)
            overlap.append(float(ious[best, number]))
            place.append(total + best)
            candidates.append(region.caption)
            references.append(list(regions[best].phrases))
        total += len(regions)
    if not candidates:
        raise VsalignError("none of the images with true boxes was described: give both the same image_id")
    near = [number for number, iou in enumerate(overlap) if iou >= IOU_THRESHOLDS[0]]
    scores = np.zeros(len(candidates))
    if near:
        scores[near] = meteor([candidates[n] for n in near], [references[n] for n in near])
    order = np.argsort(-np.asarray(confidence), kind="stable")
    facts = np.asarray(overlap)[order], scores[order], np.asarray(place)[order]
    return float(np.mean([_precision(*facts, iou, low, total) for iou in IOU_THRESHOLDS for low in METEOR_THRESHOLDS]))


def _precision(overlap: np.ndarray, scores: np.ndarray, place: np.ndarray, iou: float, low: float, total: int) -> float:
    """Average precision of regions, likeliest first: the area below precision's envelope over recall."""
    reached = (overlap >= iou) & (scores >= low)
    first = np.zeros(len(place), dtype=bool)
    _, firsts = np.unique(np.where(reached, place, -1), return_index=True)
    first[firsts] = True
    right = (first & reached).cumsum()
    precision = right / np.arange(1, len(place) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    recall = right / total
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


def _ious(regions: Sequence[TrueRegion], found: Sequence[DescribedRegion]) -> np.ndarray:
    """(true, described)."""
    sides = (np.array([each.box for each in some], np.float32).reshape(-1, 4) for some in (regions, found))
    return box_iou(*sides)
