"""What was found: an image, and the region that answers each phrase of the sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from vsalign.alignment import Segment, segments
from vsalign.alignment.placing import Placing, expected_overlaps, region_overlaps
from vsalign.padding import padded
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
    rows: pa.RecordBatch
    """The columns SHOWN of some images of the index."""
    place: int
    """The image's, among them."""
    regions: Tensor
    """(R, d) of a space."""

    @property
    def row(self) -> dict[str, Any]:
        """Its columns SHOWN."""
        row: dict[str, Any] = self.rows.slice(self.place, 1).to_pylist()[0]
        return row


@torch.inference_mode()
def hits(query: Query, found: Sequence[Found], placing: Placing) -> list[Hit]:
    """The images found, with their places; placing: how words are put on regions."""
    rows = [each.row for each in found]
    boxes = [np.array(row["boxes"], np.float32) for row in rows]
    return [
        Hit(
            number=each.number,
            image_id=row["image_id"],
            uri=row["uri"],
            width=row["width"],
            height=row["height"],
            caption=row["caption"] or "",
            score=each.score,
            places=places,
        )
        for each, row, places in zip(found, rows, _places(query, found, boxes, placing), strict=True)
    ]


def _places(
    query: Query, found: Sequence[Found], own_boxes: Sequence[np.ndarray], placing: Placing
) -> list[tuple[Place, ...]]:
    """Of all images at once: one after the other, most of the time would go to small operations."""
    if not found:
        return []
    boxes, mask = padded(own_boxes)
    counts = mask.sum(1).tolist()
    regions, _ = padded([each.regions[:count].numpy() for each, count in zip(found, counts, strict=True)])
    likings = query.asked.words @ regions.float().transpose(1, 2)
    products = likings.masked_fill(~mask[:, None], -torch.inf)
    if not query.tokens:
        best = products[:, 0].max(1)
        chosen = boxes[torch.arange(len(boxes)), best.indices]
        return [(Place("", 0, 0, _box(box), score),) for box, score in zip(chosen, best.values.tolist(), strict=True)]
    lengths = torch.full((len(found),), products.shape[1])
    unary = products
    if placing.unary == "overlap":
        unary = expected_overlaps(placing, products, lengths, region_overlaps(boxes))
    phrases = segments(unary, lengths, placing.beta or 0.0, products)
    return [tuple(_place(query, each, boxes[image]) for each in of_image) for image, of_image in enumerate(phrases)]


def _place(query: Query, phrase: Segment, boxes: Tensor) -> Place:
    words = " ".join(query.tokens[phrase.start : phrase.end])
    mean = phrase.score / (phrase.end - phrase.start)
    return Place(words, phrase.start, phrase.end, _box(boxes[phrase.region]), mean)


def _box(box: Tensor) -> Box:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2
