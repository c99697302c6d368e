"""Grounding of phrases: does the region that the alignment chose hold what the phrase names?

A phrase has one or more true boxes ("three men": three). Two measures, both shares of the phrases, 0 to 1:

    R@1       IoU of the chosen region with the union box (the smallest box around all true boxes) is >= 0.5,
              the protocol of Flickr30k Entities
    pointing  the centre of the chosen region lies inside any of the true boxes

Neither says much alone: photographers put things in the middle. So lines that need no model stand beside.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vsalign.boxes import as_boxes, box_iou, centres, points_inside, valid
from vsalign.errors import VsalignError

IOU_THRESHOLD = 0.5  # Flickr30k Entities' protocol; issue 3
CENTRED_SHARE = 0.5  # of the picture's area: the centred box guesses a thing of half the picture (our choice)
NO_REGION = -1
FRAME_TOLERANCE_PX = 1.0  # region 0 may be rounded by whoever wrote it
Choice = int | np.ndarray
"""A region's index, or a box (4,) xyxy px that is none of them."""
METHODS = ("chosen", "control", "whole_image", "centre", "best_possible", "chance")


class Phrase(Protocol):
    """What grounding reads of a phrase; vsalign.datasets.PhraseTruth is one."""

    @property
    def image_id(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def boxes(self) -> np.ndarray: ...

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...


@dataclass(frozen=True)
class Share:
    """Shares, 0 to 1, of phrases grounded right by the two measures."""

    iou: float
    """R@1: IoU with the union box >= 0.5."""
    pointing: float
    """Centre inside any true box."""


@dataclass(frozen=True)
class Figures:
    """What was measured over some phrases, beside what needs no model."""

    phrases: int
    chosen: Share
    """The model's regions."""
    control: Share
    """The same model and rule told a phrase of another picture: what it gains by knowing boxes, not words."""
    whole_image: Share
    """Region 0, the whole picture, for every phrase."""
    centre: Share
    """A centred box of half the picture's area for IoU; the centre point for pointing."""
    best_possible: Share
    """The region that fits best for every phrase: what no choice among these regions can exceed."""
    chance: Share
    """A region drawn at random: the mean over regions of the hits."""


@dataclass(frozen=True)
class Grounding:
    """Grounding over all phrases and by kind, with the phrases that could not be measured counted."""

    total: Figures
    by_kind: dict[str, Figures]
    without_boxes: int
    """Phrases that have no true box (scenes without a thing, Entities' non-visual phrases); left out."""
    missing_regions: int
    """Phrases of pictures that have no row of regions; left out."""
    without_region: int
    """Phrases for which the model chose no region (index -1); counted as missed by both measures."""

    def lines(self) -> list[str]:
        """The figures with their definition, one line of text each, per cent."""
        rows = [
            f"R@1: per cent of phrases whose region has IoU >= {IOU_THRESHOLD} with the union of the true "
            "boxes; pointing: its centre is inside any true box",
            f"{self.total.phrases} phrases measured; left out: {self.without_boxes} without true boxes, "
            f"{self.missing_regions} of pictures without regions; {self.without_region} without a chosen "
            "region (count as missed)",
        ]
        for name, figures in (("all", self.total), *sorted(self.by_kind.items())):
            cells = "  ".join(
                f"{method.replace('_', ' ')} {100 * share.iou:.1f} / {100 * share.pointing:.1f}"
                for method in METHODS
                for share in (getattr(figures, method),)
            )
            rows.append(f"{name:<12} R@1 / pointing  {cells}  ({figures.phrases} phrases)")
        return rows

    def __str__(self) -> str:
        return "\n".join(self.lines())


def evaluate_grounding(
    phrases: Iterable[Phrase],
    regions: Mapping[str, np.ndarray],
    chosen: Sequence[Choice],
    control: Sequence[Choice] | None = None,
) -> Grounding:
    """Measure the region chosen for each phrase against the phrase's true boxes (issue 3).

    phrases: each with image_id, kind and boxes (n, 4) xyxy px. regions: image_id -> boxes (R, 4) xyxy px in the same
    frame, row 0 the whole picture. chosen: one region index a phrase, in order, or a box (4,) of its own; -1 where the
    model chose none. control: the same, where each phrase was another picture's; left out, nothing right. Raises
    VsalignError on counts that differ, an index outside the picture's regions, broken boxes, true boxes of a picture of
    another size than region 0, or when no phrase can be measured.
    """
    phrases = list(phrases)
    others = [NO_REGION] * len(phrases) if control is None else control
    for indices in (chosen, others):
        if len(phrases) != len(indices):
            raise VsalignError(f"{len(phrases)} phrases but {len(indices)} chosen regions; give one for each phrase.")
    hits: dict[str, list[np.ndarray]] = defaultdict(list)
    without_boxes = missing_regions = without_region = 0
    for number, (phrase, index, other) in enumerate(zip(phrases, chosen, others, strict=True)):
        truth = as_boxes(phrase.boxes)
        if not len(truth):
            without_boxes += 1
        elif phrase.image_id not in regions:
            missing_regions += 1
        else:
            candidates = as_boxes(regions[phrase.image_id])
            for each in (index, other):
                _check(number, phrase, truth, candidates, each)
            without_region += isinstance(index, int) and index == NO_REGION
            hits[phrase.kind].append(_hits(truth, candidates, (index, other)))
    if not hits:
        raise VsalignError(
            f"none of {len(phrases)} phrases can be measured ({without_boxes} without true boxes, "
            f"{missing_regions} of pictures without regions); give phrases and regions of the same pictures."
        )
    by_kind = {kind: np.stack(rows) for kind, rows in hits.items()}
    return Grounding(
        total=_figures(np.concatenate(list(by_kind.values()))),
        by_kind={kind: _figures(rows) for kind, rows in by_kind.items()},
        without_boxes=without_boxes,
        missing_regions=missing_regions,
        without_region=without_region,
    )


def union_box(boxes: np.ndarray) -> np.ndarray:
    """The smallest box (1, 4) xyxy px around all of boxes (n >= 1, 4)."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])[None]


def centred_box(picture: np.ndarray) -> np.ndarray:
    """The box (1, 4) xyxy px amid a picture (4,), of its proportions and CENTRED_SHARE of its area."""
    middle, half = (picture[:2] + picture[2:]) / 2, (picture[2:] - picture[:2]) * CENTRED_SHARE**0.5 / 2
    return np.concatenate([middle - half, middle + half])[None]


def _check(number: int, phrase: Phrase, truth: np.ndarray, candidates: np.ndarray, index: Choice) -> None:
    """Raise VsalignError on broken boxes, true boxes of another frame, or an index that names no region."""
    place = f"phrase {number} of picture {phrase.image_id!r}"
    for name, boxes in (("true box", truth), ("region", candidates)):
        bad = np.flatnonzero(~valid(boxes))
        if len(bad):
            raise VsalignError(
                f"{place}: {name} {bad[0]} is {boxes[bad[0]].tolist()}; "
                "give finite x1, y1, x2, y2 in pixels with x2 > x1 and y2 > y1."
            )
    if isinstance(index, int) and not NO_REGION <= index < len(candidates):
        raise VsalignError(
            f"{place} is put on region {index}, but the picture has {len(candidates)} regions; "
            "use the regions that the alignment was inferred with."
        )
    check_frame(number, phrase, candidates)


def check_frame(number: int, phrase: Phrase, candidates: np.ndarray) -> None:
    """Raise VsalignError where a phrase's true boxes are of another frame than region 0 of candidates (R, 4)."""
    width, height = candidates[0, 2:] - candidates[0, :2] if len(candidates) else (0, 0)
    if max(abs(width - phrase.width), abs(height - phrase.height)) > FRAME_TOLERANCE_PX:
        raise VsalignError(
            f"phrase {number} of picture {phrase.image_id!r}: the true boxes are of a picture of {phrase.width} x "
            f"{phrase.height} px, but region 0 of {len(candidates)}, the whole picture, is {width:g} x {height:g} px; "
            "rescale the true boxes."
        )


def _hits(truth: np.ndarray, candidates: np.ndarray, choices: tuple[Choice, Choice]) -> np.ndarray:
    """Hits (len(METHODS), 2) of one phrase: by IoU, by pointing."""
    truth = truth.astype(np.float64)  # so that an IoU of exactly 0.5 is a hit
    candidates = candidates.astype(np.float64)
    own = [choice[None] for choice in choices if not isinstance(choice, int)]
    boxes = np.concatenate([*own, candidates, centred_box(candidates[0])])
    by_iou = box_iou(boxes, union_box(truth))[:, 0] >= IOU_THRESHOLD
    by_pointing = points_inside(centres(boxes), truth).any(axis=1)
    every = np.stack([by_iou, by_pointing], axis=1).astype(float)  # own boxes first, the centred box last
    of_regions, of_own = every[len(own) : -1], iter(every)
    chosen, control = (
        next(of_own) if not isinstance(each, int) else np.zeros(2) if each == NO_REGION else of_regions[each]
        for each in choices
    )
    return np.stack([chosen, control, of_regions[0], every[-1], of_regions.max(axis=0), of_regions.mean(axis=0)])


def _figures(hits: np.ndarray) -> Figures:
    """Mean over phrases of hits (P, len(METHODS), 2), in the order of METHODS."""
    shares = {
        method: Share(float(iou), float(pointing))
        for method, (iou, pointing) in zip(METHODS, hits.mean(axis=0), strict=True)
    }
    return Figures(phrases=len(hits), **shares)
