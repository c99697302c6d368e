"""An index in memory: a block is one row group of its files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from vsalign.search.regions import Regions
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
    regions: Regions
    """As a space keeps them."""
    longest: float
    """The largest length of a region's vector."""
    kept: pa.Array | None
    """(n,) bool: what was not removed; None: all."""
    numbers: np.ndarray | None = None
    """(n,) the numbers of the images; None: from `first` on."""

    def number(self, place: int) -> int:
        """In the index, of the image at a place of this block."""
        return self.first + place if self.numbers is None else int(self.numbers[place])

    def __len__(self) -> int:
        return self.rows.num_rows


def blocks(table: TableReader, removed: Set[str], behind: int = 0) -> Iterator[Block]:
    """Of an index, from the shard on before which so many stand; `removed`: image_ids that are passed over."""
    precision = np.dtype(table.properties["space"]["precision"])
    gone = pa.array(sorted(removed), pa.string())
    first = sum(part["rows"] for part in table.shards[:behind])
    for batch in table.batches([*SHOWN, "vectors"], range(behind, len(table.shards))):
        rows = batch.select([*SHOWN])
        kept = pc.invert(pc.is_in(rows["image_id"], value_set=gone)) if removed else None
        yield Block(first, rows, *_regions(batch["vectors"], precision), kept)
        first += batch.num_rows


def gathered(held: Sequence[Block], numbers: np.ndarray) -> Block:
    """The images of some numbers, one or more and ascending, of blocks one after the other, as one block."""
    of_blocks = np.split(numbers, np.searchsorted(numbers, [block.first for block in held[1:]]))
    parts = [_taken(block, some) for block, some in zip(held, of_blocks, strict=True) if len(some)]
    kept = [pa.repeat(True, len(part)) if part.kept is None else part.kept for part in parts]
    return Block(
        first=parts[0].first,
        rows=pa.Table.from_batches([part.rows for part in parts]).combine_chunks().to_batches()[0],
        regions=Regions.joined([part.regions for part in parts]),
        longest=max(part.longest for part in parts),
        kept=None if all(part.kept is None for part in parts) else pa.concat_arrays(kept),
        numbers=numbers,
    )


def _taken(block: Block, numbers: np.ndarray) -> Block:
    """Some images of a block."""
    places = numbers - block.first
    kept = None if block.kept is None else block.kept.take(places)
    regions = block.regions.some(torch.from_numpy(places))
    return replace(block, rows=block.rows.take(places), regions=regions, kept=kept, numbers=numbers)


def _regions(column: pa.ListArray, precision: np.dtype) -> tuple[Regions, float]:
    """regions and longest of a Block; every image has a region."""
    flat = column.flatten()
    dim = flat.type.byte_width // precision.itemsize
    start = flat.offset * dim
    values = np.frombuffer(flat.buffers()[1] or b"", precision, count=start + len(flat) * dim)[start:].reshape(-1, dim)
    parts = (values[first : first + LENGTHS_AT_ONCE] for first in range(0, len(values), LENGTHS_AT_ONCE))
    longest = max((float(torch.from_numpy(part).float().norm(dim=1).max()) for part in parts), default=0.0)
    counts = torch.from_numpy(np.array(column.value_lengths(), np.int64))
    return Regions.of_rows(torch.from_numpy(values), counts), longest
