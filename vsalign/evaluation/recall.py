"""Recall of regions: is there a box for what a caption names?

    recall  per cent of the phrases for which one of the picture's regions has IoU >= 0.5 with the union box (the
            smallest box around all true boxes of the phrase), the protocol of Flickr30k Entities

It is the ceiling of grounding on these regions: `best_possible` there, by kind and by the number of regions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vsalign.boxes import as_boxes, box_iou
from vsalign.errors import VsalignError
from vsalign.evaluation.grounding import IOU_THRESHOLD, Phrase, check_frame, union_box

COUNTS = (1, 5, 10, 20)
"""Numbers of regions, the first of a picture's row, whole picture included, whose recall is told."""


@dataclass(frozen=True)
class Recall:
    """Recall, 0 to 1, over all phrases and by kind, with what could not be measured counted."""

    total: float
    by_kind: Mapping[str, float]
    by_count: Mapping[int, float]
    """Of the first 1, 5, … regions alone."""
    phrases: Mapping[str, int]
    """Measured, by kind."""
    regions: float
    """Regions a picture, mean over the pictures that have phrases."""
    without_boxes: int
    """Phrases that have no true box; left out."""
    missing_regions: int
    """Phrases of pictures that have no row of regions; left out."""

    def lines(self) -> list[str]:
        """The figures with their definition, one line of text each, per cent."""
        measured = sum(self.phrases.values())
        return [
            f"recall: per cent of phrases with a region of IoU >= {IOU_THRESHOLD} with the union of the true boxes",
            f"{measured} phrases measured, {self.regions:.1f} regions a picture; left out: {self.without_boxes} "
            f"without true boxes, {self.missing_regions} of pictures without regions",
            f"{'all':<12} {100 * self.total:5.1f}  ({measured} phrases)",
            *(
                f"{kind:<12} {100 * share:5.1f}  ({self.phrases[kind]} phrases)"
                for kind, share in sorted(self.by_kind.items())
            ),
            "first regions " + ", ".join(f"{count}: {100 * share:.1f}" for count, share in self.by_count.items()),
        ]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def evaluate_recall(phrases: Iterable[Phrase], regions: Mapping[str, np.ndarray]) -> Recall:
    """Measure the boxes of regions against the true boxes of phrases (issue 4).

    phrases: each with image_id, kind and boxes (n, 4) xyxy px. regions: image_id -> boxes (R, 4) xyxy px in the same
    frame, row 0 the whole picture. Raises VsalignError on true boxes of a picture of another size than region 0, or
    when no phrase can be measured.
    """
    best: dict[str, list[int]] = defaultdict(list)
    counts: dict[str, int] = {}
    without_boxes = missing_regions = 0
    for number, phrase in enumerate(phrases):
        truth = as_boxes(phrase.boxes)
        if not len(truth):
            without_boxes += 1
        elif phrase.image_id not in regions:
            missing_regions += 1
        else:
            found = as_boxes(regions[phrase.image_id]).astype(np.float64)
            check_frame(number, phrase, found)
            counts[phrase.image_id] = len(found)
            met = np.flatnonzero(box_iou(found, union_box(truth.astype(np.float64)))[:, 0] >= IOU_THRESHOLD)
            best[phrase.kind].append(int(met[0]) if len(met) else NONE)
    if not best:
        raise VsalignError(
            f"none of {without_boxes + missing_regions} phrases can be measured ({without_boxes} without true boxes, "
            f"{missing_regions} of pictures without regions); give phrases and regions of the same pictures."
        )
    together = [rank for ranks in best.values() for rank in ranks]
    return Recall(
        total=_within(together),
        by_kind={kind: _within(ranks) for kind, ranks in best.items()},
        by_count={count: _within(together, count) for count in COUNTS},
        phrases={kind: len(ranks) for kind, ranks in best.items()},
        regions=float(np.mean(list(counts.values()))),
        without_boxes=without_boxes,
        missing_regions=missing_regions,
    )


NONE = np.iinfo(np.int64).max
"""The rank of a region that is not there."""


def _within(ranks: Sequence[int], count: int = NONE) -> float:
    """The share of phrases whose first fitting region is among the first `count`."""
    return float((np.asarray(ranks) < count).mean())
