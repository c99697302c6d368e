"""What a stage holds in memory does not grow with its input."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pyarrow as pa

from vsalign.storage import Stage

SCHEMA = pa.schema([("image_id", pa.string()), ("uri", pa.string()), ("kind", pa.string())])


def listing(inputs: int, a_shard: int = 100) -> Iterator[list[dict[str, str]]]:
    for start in range(0, inputs, a_shard):
        yield [
            {"image_id": f"box/{n:09d}.jpg", "uri": f"gs://archive/box/{n:09d}.jpg", "kind": "picture"}
            for n in range(start, start + a_shard)
        ]


def peak_of_planning(captions, inputs: int) -> int:
    stage = Stage(captions.other(url=f"{captions.url}-{inputs}").output)
    tracemalloc.start()
    try:
        stage.plan(listing(inputs), SCHEMA, {})
        return tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes()
    finally:
        tracemalloc.stop()
        assert len(stage.pending()) == inputs // 100


def test_planning_holds_a_few_shards_whatever_the_listing(captions) -> None:
    small, large = peak_of_planning(captions, 20_000), peak_of_planning(captions, 200_000)
    assert large < 1.3 * small
    assert large < 20 * 2**20


def test_a_shard_is_held_encoded_not_as_python_objects(captions) -> None:
    """10^5 rows of 60 bytes of text: a few megabytes, not the hundred that lists of dicts cost."""
    writer = captions.output.open_shard(captions.stage().pending()[0])
    row = {"image_id": "x" * 30, "caption_id": "y" * 30, "split": "train", "text": "z" * 60, "tokens": ["word"] * 12}
    tracemalloc.start()
    for _ in range(100):
        writer.write([row] * 1000)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert writer.rows == 100_000
    assert held < 2**20
    assert pa.total_allocated_bytes() < 200 * 2**20
