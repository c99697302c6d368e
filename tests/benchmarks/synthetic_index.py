"""An index of any number of images that never were: each has some regions of one real image and the rest of another.

python -m tests.benchmarks.synthetic_index --index DIR --output DIR --images 1000000
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from vsalign import tables
from vsalign.search import SearchIndex
from vsalign.storage import Folder, Output, begin

IMAGES_A_SHARD = 2**16
IMAGES_A_BATCH = 2**12
PLAN = pa.schema([("uri", pa.string()), ("first", pa.int64()), ("images", pa.int64())])


def write_synthetic(real: str, output: str, images: int) -> None:
    """An index of `images` mixtures of those of an index's images that have the most regions.

    The k-th takes two images that no other takes in this order, as long as there are that many pairs; then another
    share of them.
    """
    index = SearchIndex(real)
    held = list(index.blocks())
    vectors = np.concatenate([block.regions.transpose(0, 1).numpy() for block in held])
    rows = [row for block in held for row in block.rows["boxes"].to_pylist()]
    whole = [number for number, row in enumerate(rows) if len(row) == vectors.shape[1]]
    vectors, boxes = vectors[whole], np.array([rows[number] for number in whole], np.float32)
    space = index.table.properties["space"]
    schema = tables.index_schema(space["dim"], space["precision"])
    made = Output(output, "index", schema, "index", index.table.manifest["configuration"], index.table.properties)
    stage = begin(made, lambda: _plan(images), PLAN, {}, overwrite=True)
    index.asker.space.write(Folder(output))
    for task in stage.pending():
        (row,) = made.read_plan(task)
        writer = made.open_shard(task)
        for first in range(row["first"], row["first"] + row["images"], IMAGES_A_BATCH):
            numbers = np.arange(first, min(first + IMAGES_A_BATCH, row["first"] + row["images"]))
            writer.write(_mixed(numbers, vectors, boxes, schema))
        writer.commit(row["images"])
    stage.finish()


def _plan(images: int) -> Iterator[list[dict[str, Any]]]:
    for first in range(0, images, IMAGES_A_SHARD):
        yield [{"uri": str(first), "first": first, "images": min(IMAGES_A_SHARD, images - first)}]


def _mixed(numbers: np.ndarray, vectors: np.ndarray, boxes: np.ndarray, schema: pa.Schema) -> pa.RecordBatch:
    """Rows of the index. An image's number chooses two real ones, and which regions are the first's."""
    real, most, dim = vectors.shape
    one, other = numbers % real, (numbers + 1 + numbers // real) % real
    shares = 1 + (numbers // (real * (real - 1)) + numbers) % (most - 1)  # of its regions, from the first image
    first = (np.arange(most) + numbers[:, None]) % most < shares[:, None]
    chosen = np.where(first, one[:, None], other[:, None])
    ranks = np.arange(most)
    flat = np.ascontiguousarray(vectors[chosen, ranks]).reshape(-1, dim)
    places = boxes[chosen, ranks].reshape(-1, 4)
    values = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(dim * vectors.dtype.itemsize), len(flat), [None, pa.py_buffer(flat)]
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
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", required=True, help="an index of real images")
    parser.add_argument("--output", required=True, help="folder of the new one")
    parser.add_argument("--images", type=int, default=1_000_000)
    asked = parser.parse_args()
    write_synthetic(asked.index, asked.output, asked.images)


if __name__ == "__main__":
    main()
