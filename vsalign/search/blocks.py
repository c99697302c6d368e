"""An index in memory: a block is one row group of its files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Set
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from vsalign.storage import TableReader

warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # it is only read

LENGTHS_AT_ONCE = 2**13
SHOWN = ("image_id", "uri", "width", "height", "caption", "boxes")


@dataclass(frozen=True)
class Block:
    """Some images."""

    first: int
    """The number, in the index, of the first of them."""
    rows: pa.RecordBatch
    """The columns SHOWN."""
    regions: Tensor
    """(R, n, d) int8 or float16, as a space keeps them, rank by rank; behind an image's own stands its first again."""
    counts: Tensor | None
    """(n,) of each image's own; None: R of all."""
    longest: float
    """The largest length of a region's vector."""
    kept: pa.Array | None
    """(n,) bool: what was not removed; None: all."""

    def __len__(self) -> int:
        return self.rows.num_rows


def blocks(table: TableReader, removed: Set[str]) -> Iterator[Block]:
    """All of an index, one after the other; `removed`: image_ids that are passed over."""
    precision = np.dtype(table.properties["space"]["precision"])
    gone = pa.array(sorted(removed), pa.string())
    first = 0
    for batch in table.batches([*SHOWN, "vectors"]):
        rows = batch.select([*SHOWN])
        kept = pc.invert(pc.is_in(rows["image_id"], value_set=gone)) if removed else None
        yield Block(first, rows, *_regions(batch["vectors"], precision), kept)
        first += batch.num_rows


def _regions(column: pa.ListArray, precision: np.dtype) -> tuple[Tensor, Tensor | None, float]:
    """regions, counts and longest of a Block; every image has a region."""
    flat = column.flatten()
    dim = flat.type.byte_width // precision.itemsize
    start = flat.offset * dim
    values = np.frombuffer(flat.buffers()[1] or b"", precision, count=start + len(flat) * dim)[start:].reshape(-1, dim)
    parts = (values[first : first + LENGTHS_AT_ONCE] for first in range(0, len(values), LENGTHS_AT_ONCE))
    longest = max((float(torch.from_numpy(part).float().norm(dim=1).max()) for part in parts), default=0.0)
    return *_by_rank(values, np.array(column.value_lengths())), longest


def _by_rank(values: np.ndarray, counts: np.ndarray) -> tuple[Tensor, Tensor | None]:
    """regions (R, n, d) and counts of a Block, from all regions (Σ counts, d) and each image's number of them (n,)."""
    if len(counts) and (counts == counts[0]).all():
        return torch.from_numpy(values).view(len(counts), counts[0], -1).transpose(0, 1).contiguous(), None
    ranks = np.arange(counts.max(initial=0))[:, None]
    firsts = np.cumsum(counts) - counts
    taken = np.where(ranks < counts, firsts + ranks, firsts)
    return torch.from_numpy(values[taken]), torch.from_numpy(counts)
