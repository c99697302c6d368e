"""What was found: an image, and the region that answers each phrase of the sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vsalign.alignment import segments
from vsalign.alignment.placing import Placing, expected_overlaps, region_overlaps
from vsalign.search.queries import Query

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Place:
    """A phrase of the sentence, or the place that was asked for, and the region that answers it."""

    phrase: str
    """Empty for a place."""
    start: int
    end: int
    """Words of the sentence, end exclusive."""
    box: Box
    """x1, y1, x2, y2 in px of the upright picture."""
    score: float
    """The mean of the products of its words and the region."""


@dataclass(frozen=True)
class Hit:
    """An image that was found."""

    number: int
    """Its number in the index."""
    image_id: str
    uri: str
    width: int
    height: int
    """px, of the upright picture."""
    caption: str
    """Empty where the index has none."""
    score: float
    places: tuple[Place, ...]


class Found(NamedTuple):
    """A row of the index with its score."""

    score: float
    number: int
    row: dict[str, object]
    """The columns SHOWN."""
    regions: Tensor
    """(R, d) of a space."""


@torch.inference_mode()
def hits(query: Query, found: Sequence[Found], placing: Placing) -> list[Hit]:
    """The images found, with their places; placing: how words are put on regions."""
    return [
        Hit(
            number=each.number,
            image_id=str(each.row["image_id"]),
            uri=str(each.row["uri"]),
            width=int(each.row["width"]),  # type: ignore[call-overload]
            height=int(each.row["height"]),  # type: ignore[call-overload]
            caption=str(each.row["caption"] or ""),
            score=each.score,
            places=_places(query, each, placing),
        )
        for each in found
    ]


def _places(query: Query, found: Found, placing: Placing) -> tuple[Place, ...]:
    boxes = torch.tensor(found.row["boxes"], dtype=torch.float32)
    products = query.asked.words @ found.regions[: len(boxes)].float().t()
    if not query.tokens:
        best = int(products[0].argmax())
        return (Place("", 0, 0, _box(boxes[best]), float(products[0, best])),)
    lengths = torch.tensor([len(products)])
    unary = products[None]
    if placing.unary == "overlap":
        unary = expected_overlaps(placing, products[None], lengths, region_overlaps(boxes[None]))
    phrases = segments(unary, lengths, placing.beta or 0.0, products[None])[0]
    return tuple(
        Place(
            " ".join(query.tokens[each.start : each.end]),
            each.start,
            each.end,
            _box(boxes[each.region]),
            each.score / (each.end - each.start),
        )
        for each in phrases
    )


def _box(box: Tensor) -> Box:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2
