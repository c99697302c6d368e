"""Image-sentence pairs -> the phrases of each sentence on regions of its image (paper, section 3.1.4).

The unit of work is the pairs of one shard of the regions table, so that a feature is read once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from vsalign import tables
from vsalign.alignment.model import AlignmentModel
from vsalign.alignment.placing import Placing, expected_overlaps, region_overlaps
from vsalign.alignment.segment import Segment, segments
from vsalign.alignment.sentences import SentenceReader
from vsalign.chunks import chunks
from vsalign.errors import ConfigurationError, Reason
from vsalign.padding import padded
from vsalign.storage import ShardResult, ShardWriter, TableReader
from vsalign.tables import feature_arrays

PAIRS_A_BATCH = 256
"""Pairs solved together: their regions' products with their words stay below some tens of megabytes."""

PAIRS_WITHOUT_REGIONS_A_SHARD = 4096
"""They become error rows alone; a guess that keeps such a shard's file small."""

NO_REGIONS = -1
"""In the plan, in place of a region shard: the image is not in the regions table."""

PAIR_PLAN = pa.schema(
    [
        pa.field("image_id", pa.string()),
        pa.field("caption_id", pa.string()),
        pa.field("tokens", pa.list_(pa.string())),
        pa.field("region_shard", pa.int32()),
    ]
)
"""One row is a pair: what a worker needs beside the regions table's shard of that position."""


@dataclass(frozen=True)
class Pair:
    """A sentence of an image whose regions are known."""

    image_id: str
    caption_id: str
    tokens: list[str]
    features: np.ndarray
    """(n, D) float16 of the image's regions."""
    boxes: np.ndarray
    """(n, 4) float32 xyxy px."""


def plan_pairs(
    regions: TableReader, captions: TableReader, splits: Collection[str] = ()
) -> Iterator[list[dict[str, Any]]]:
    """The pairs of the captions of `splits` (empty: of all), those of one shard of the regions table together.

    Within a shard: images in the table's order, sentences in theirs. Last come the pairs without regions.
    Raises ConfigurationError at once, naming the splits, where a split has no captions.
    """
    return _shards_of_pairs(regions, _sentences(captions, splits))


def _shards_of_pairs(regions: TableReader, waiting: dict[str, list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    for shard in range(len(regions.shards)):
        rows: list[dict[str, Any]] = []
        for batch in regions.batches(["image_id"], [shard]):
            for image_id in batch.column(0).to_pylist():
                rows += [{**row, "region_shard": shard} for row in waiting.pop(image_id, ())]
        if rows:
            yield rows
    left = [{**row, "region_shard": NO_REGIONS} for rows in waiting.values() for row in rows]
    for start in range(0, len(left), PAIRS_WITHOUT_REGIONS_A_SHARD):
        yield left[start : start + PAIRS_WITHOUT_REGIONS_A_SHARD]


def _sentences(captions: TableReader, splits: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    seen: Counter[str] = Counter()
    for batch in captions.batches(["image_id", "caption_id", "split", "tokens"]):
        for row in batch.to_pylist():
            split = row.pop("split")
            seen[split] += 1
            if not splits or split in splits:
                found.setdefault(row["image_id"], []).append(row)
    for split in splits:
        if split not in seen:
            raise ConfigurationError(
                f"{captions.url} has no captions of the split {split!r}: it has "
                + (", ".join(f"{name} ({count})" for name, count in sorted(seen.items())) or "none at all")
            )
    if not found:
        raise ConfigurationError(f"{captions.url} has no captions at all: prepare a captions file that has some")
    return found


class Annotator:
    """An alignment model at work on pairs."""

    def __init__(self, model: AlignmentModel, reader: SentenceReader, placing: Placing) -> None:
        self.model, self.reader = model.eval(), reader
        self.placing = placing.settled(normalised=model.config.normalise)
        self.beta = self.placing.beta or 0.0

    @torch.inference_mode()
    def annotate(self, pairs: Sequence[Pair]) -> list[list[Segment]]:
        """The phrases of each pair's sentence, in order; every sentence has a word, every image a region."""
        return segments(*self.likings(pairs))

    def likings(self, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor, float, Tensor]:
        """Of M pairs: what the MRF adds up (M, T, R), lengths (M,), beta, and the products v_i · s_t (M, T, R)."""
        sentences = self.reader.read([pair.tokens for pair in pairs])
        s, lengths = self.model.sentences(*sentences), sentences.lengths
        images = {pair.image_id: pair for pair in pairs}
        features, mask = padded([pair.features for pair in images.values()])
        row = {image_id: number for number, image_id in enumerate(images)}
        image = torch.tensor([row[pair.image_id] for pair in pairs])
        found = products(self.model.regions(features), mask, s, lengths, image)
        unary = found
        if self.placing.unary == "overlap":
            boxes, _ = padded([pair.boxes for pair in images.values()])
            unary = expected_overlaps(self.placing, found, lengths, region_overlaps(boxes)[image])
        return unary, lengths, self.beta, found


def products(v: Tensor, region_mask: Tensor, s: Tensor, lengths: Tensor, image: Tensor) -> Tensor:
    """(M, T, R): v_i · s_t of M sentences with the regions of their images, -inf where there is no region.

    v: (N, R, h); region_mask: (N, R); s: (W, h), sentence by sentence; lengths: (M,); image: (M,), rows of v.
    """
    words = torch.nn.utils.rnn.pad_sequence(list(s.split(lengths.tolist())), batch_first=True)
    return (words @ v[image].transpose(1, 2)).masked_fill(~region_mask[image][:, None, :], -torch.inf)


def annotate_shard(
    rows: Iterable[dict[str, Any]], regions: TableReader, annotator: Annotator, writer: ShardWriter
) -> ShardResult:
    """Annotate the pairs of one shard of the plan (PAIR_PLAN) into the segments table, and commit it.

    Pairs without regions (MISSING_REGIONS) or words (NO_WORDS) become error rows, and are in no batch.
    """
    pairs = list(rows)
    usable: dict[str, list[dict[str, Any]]] = {}
    for pair in pairs:
        if pair["region_shard"] == NO_REGIONS:
            _refuse(writer, pair, Reason.MISSING_REGIONS, f"the image {pair['image_id']} is not in {regions.url}")
        elif not pair["tokens"]:
            _refuse(writer, pair, Reason.NO_WORDS, "the sentence has no words")
        else:
            usable.setdefault(pair["image_id"], []).append(pair)
    shards = sorted({pair["region_shard"] for pair in pairs} - {NO_REGIONS})
    for batch in batches(pairs_with_regions(usable, regions, shards)):
        _write(batch, annotator, writer)
    for image_id, left in usable.items():
        for pair in left:
            _refuse(writer, pair, Reason.MISSING_REGIONS, f"the image {image_id} has no regions in {regions.url}")
    return writer.commit(len(pairs))


def pairs_with_regions(
    wanted: dict[str, list[dict[str, Any]]], regions: TableReader, shards: Sequence[int] | None = None
) -> Iterator[Pair]:
    """The pairs of images that have regions, in the table's order; what is left in `wanted` at the end has none.

    wanted: of each image_id, its sentences (caption_id, tokens). shards: those to read; None: all.
    """
    if not wanted:
        return
    for batch in regions.batches(["image_id", "boxes", "features"], shards):
        columns = (batch.column(0).to_pylist(), batch.column(1), feature_arrays(batch.column(2)))
        for image_id, boxes, features in zip(*columns, strict=True):
            if len(features) and (pairs := wanted.pop(image_id, ())):
                of_image = np.asarray(boxes.as_py(), np.float32)
                for pair in pairs:
                    yield Pair(image_id, pair["caption_id"], pair["tokens"], features, of_image)


def batches(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Of PAIRS_A_BATCH."""
    return chunks(pairs, PAIRS_A_BATCH)


def _write(pairs: Sequence[Pair], annotator: Annotator, writer: ShardWriter) -> None:
    writer.write(
        [
            {
                "image_id": pair.image_id,
                "caption_id": pair.caption_id,
                "segments": [segment._asdict() for segment in found],
            }
            for pair, found in zip(pairs, annotator.annotate(pairs), strict=True)
        ]
    )


def _refuse(writer: ShardWriter, pair: dict[str, Any], reason: Reason, why: str) -> None:
    uri = pair["caption_id"]
    writer.add_error(tables.error_row(uri, writer.output.stage, reason, f"{uri}: {why}"))
