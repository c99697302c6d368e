"""An index of any number of images that never were: each region of one is between those of two real images.

python -m tests.benchmarks.synthetic_index --index DIR --output DIR --images 1000000
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from vsalign import tables
from vsalign.alignment.projection import unit
from vsalign.search import SearchIndex
from vsalign.search.space import Space
from vsalign.storage import Folder, Output, begin

IMAGES_A_SHARD = 2**16
IMAGES_A_BATCH = 2**12
PLAN = pa.schema([("uri", pa.string()), ("first", pa.int64()), ("images", pa.int64())])


def write_synthetic(real: str, output: str, images: int) -> None:
    """An index of `images` mixtures of those of an index's images that have the most regions.

    The k-th takes two images that no other takes in this order, as long as there are that many pairs, and each of its
    regions a share of its own, 0.5 to 0.95, of the first's: no region is like another.
    """
    index = SearchIndex(real)
    held = list(index.blocks())
    space = index.asker.space
    vectors = np.concatenate([space.unpacked(block.regions.rows(torch.arange(len(block)))).numpy() for block in held])
    rows = [row for block in held for row in block.rows["boxes"].to_pylist()]
    whole = [number for number, row in enumerate(rows) if len(row) == vectors.shape[1]]
    vectors, boxes = vectors[whole], np.array([rows[number] for number in whole], np.float32)
    schema = tables.index_schema(space.dim, space.precision)
    made = Output(output, "index", schema, "index", index.table.manifest["configuration"], index.table.properties)
    stage = begin(made, lambda: _plan(images), PLAN, {}, overwrite=True)
    space.write(Folder(output))
    for task in stage.pending():
        (row,) = made.read_plan(task)
        writer = made.open_shard(task)
        for first in range(row["first"], row["first"] + row["images"], IMAGES_A_BATCH):
            numbers = np.arange(first, min(first + IMAGES_A_BATCH, row["first"] + row["images"]))
            writer.write(_mixed(numbers, vectors, boxes, space))
        writer.commit(row["images"])
    stage.finish()


def _plan(images: int) -> Iterator[list[dict[str, Any]]]:
    for first in range(0, images, IMAGES_A_SHARD):
        yield [{"uri": str(first), "first": first, "images": min(IMAGES_A_SHARD, images - first)}]


def _mixed(numbers: np.ndarray, vectors: np.ndarray, boxes: np.ndarray, space: Space) -> pa.RecordBatch:
    """Rows of the index; an image's number chooses two real ones and the shares."""
    real, most, dim = vectors.shape
    one, other = numbers % real, (numbers + 1 + numbers // real) % real
    shares = np.stack([np.random.default_rng(number).uniform(0.5, 0.95, most) for number in numbers])[..., None]
    between = shares * vectors[one] + (1 - shares) * vectors[other]
    kept = space.packed(unit(torch.from_numpy(between.astype(np.float32)), space.unit)).numpy()
    flat = kept.reshape(-1, dim)
    chosen, ranks = one[:, None], np.arange(most)
    places = boxes[chosen, ranks].reshape(-1, 4)
    values = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(dim * flat.dtype.itemsize), len(flat), [None, pa.py_buffer(flat)]
    )
    ends = pa.array(np.arange(0, len(flat) + 1, most), pa.int32())
    names = [f"{number % 1000:03d}/{number:09d}.jpg" for number in numbers]
    sizes = pa.array(np.full(len(numbers), 224), pa.int32())
    said = [f"a mixture of {a} and {b}" for a, b in zip(one, other, strict=True)]
    columns = [
        pa.array(names),
        pa.array([f"/no/such/archive/{name}" for name in names]),
        sizes,
        sizes,
        pa.array(said),
        pa.ListArray.from_arrays(ends, pa.FixedSizeListArray.from_arrays(pa.array(places.ravel()), 4)),
        pa.ListArray.from_arrays(ends, values),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=tables.index_schema(dim, space.precision))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", required=True, help="an index of real images")
    parser.add_argument("--output", required=True, help="folder of the new one")
    parser.add_argument("--images", type=int, default=1_000_000)
    asked = parser.parse_args()
    write_synthetic(asked.index, asked.output, asked.images)


if __name__ == "__main__":
    main()
