"""What a stage holds in memory does not grow with its input."""

from __future__ import annotations

import errno
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vsalign.errors import TableError
from vsalign.storage import Folder, Stage, shards

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


@pytest.mark.parametrize("held", [1, 1 << 30])
def test_a_shard_is_the_same_from_memory_and_from_a_temporary_file(anywhere, monkeypatch, held: int) -> None:
    monkeypatch.setattr(shards, "HELD_BYTES", held)
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 1)
    task = anywhere.stage().pending()[0]
    writer, inputs = anywhere.filled(task)
    assert writer._spool._rolled == (held == 1)
    writer.commit(inputs)
    with Folder(anywhere.url).open(task.rows_file) as file:
        assert pq.read_table(file)["image_id"].to_pylist() == ["photos/ant.jpg", "photos/bee.jpg"]
    assert anywhere.run().rows == 5


def test_a_large_shard_waits_outside_the_memory(captions, monkeypatch) -> None:
    monkeypatch.setattr(shards, "HELD_BYTES", 2**20)
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 2**20)
    writer = captions.output.open_shard(captions.stage().pending()[0])
    noise = np.random.default_rng(1)
    tracemalloc.start()
    for n in range(64):
        text = noise.bytes(2**19).hex()
        row = {"image_id": f"{n}", "caption_id": f"{n}#0", "split": "train", "text": text, "tokens": []}
        writer.write([row])
        del text, row
    writer.commit(64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    file = Path(captions.url) / "part-00000.g0.parquet"
    assert file.stat().st_size > 32 * 2**20
    assert peak < 16 * 2**20


def test_a_full_disk_for_temporary_files_is_one_sentence(captions, monkeypatch) -> None:
    writer, inputs = captions.filled(captions.stage().pending()[0])

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(writer._spool, "write", full)
    with pytest.raises(TableError, match="shard 0 of .*no space left on device.*TMPDIR"):
        writer.commit(inputs)
    assert not Folder(captions.url).exists("part-00000.g0.parquet")
