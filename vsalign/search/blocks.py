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

SHOWN = ("image_id", "uri", "width", "height", "caption", "boxes")


@dataclass(frozen=True)
class Block:
    """Some images."""

    first: int
    """The number, in the index, of the first of them."""
    rows: pa.RecordBatch
    """The columns SHOWN."""
    regions: Tensor
    """(n, R, d) int8 or float16, as a space keeps them; behind an image's own stands its first again."""
    counts: Tensor | None
    """(n,) of each image's own; None: R of all."""
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


def _regions(column: pa.ListArray, precision: np.dtype) -> tuple[Tensor, Tensor | None]:
    """(n, R, d) and (n,), as Block's; every image has a region."""
    flat = column.flatten()
    dim = flat.type.byte_width // precision.itemsize
    start = flat.offset * dim
    values = np.frombuffer(flat.buffers()[1] or b"", precision, count=start + len(flat) * dim)[start:].reshape(-1, dim)
    counts = np.array(column.value_lengths())
    if len(counts) and (counts == counts[0]).all():
        return torch.from_numpy(values.reshape(len(counts), counts[0], dim)), None
    steps = np.arange(counts.max(initial=0))
    firsts = np.cumsum(counts) - counts
    taken = np.where(steps < counts[:, None], firsts[:, None] + steps, firsts[:, None])
    return torch.from_numpy(values[taken]), torch.from_numpy(counts)
