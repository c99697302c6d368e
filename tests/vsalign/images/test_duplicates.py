"""Pictures of equal bytes: found whatever their number, and planned as copies of the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vsalign import tables
from vsalign.images import IMAGE_PLAN
from vsalign.images.duplicates import (
    COPIES_A_SHARD,
    content_hash,
    copies_of,
    first_of_equals,
    original_of,
    planned_without,
)
from vsalign.storage import Output, Stage, TableReader


@pytest.mark.parametrize("values", [1, 2, 50, 10**6])
def test_the_first_of_equals_is_found(values: int) -> None:
    numbers = np.random.default_rng(values).integers(0, values, 2000)
    digests = np.stack([numbers % 7, numbers], 1).astype(np.uint64)
    known: dict[int, int] = {}
    expected = [known.setdefault(int(number), at) for at, number in enumerate(numbers)]
    assert first_of_equals(digests).tolist() == expected
    assert first_of_equals(digests[:0]).tolist() == []


def planned(rows: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"image_id": uri, "uri": uri, "kind": kind, "reason": "", "message": ""} for uri, kind in rows]


def hashed(folder: Path, shards: Sequence[dict[str, str]]) -> TableReader:
    """A hashes table of shards of {uri: content}."""
    output = Output(str(folder), "hashes", tables.HASHES, "hash_images", {})
    stage = Stage(output)
    stage.plan(([{"n": n}] for n in range(len(shards))), pa.schema([("n", pa.int64())]), {})
    for task in stage.pending():
        writer = output.open_shard(task)
        for uri, text in shards[task.shard].items():
            writer.write([{"image_id": uri, "uri": uri, "bytes": 1, "content_hash": content_hash(text.encode())}])
        writer.commit(len(shards[task.shard]))
    stage.finish()
    return TableReader(str(folder), "hashes")


def test_copies_stand_in_shards_of_their_own(tmp_path: Path) -> None:
    shards = [
        planned([("a", "image"), ("bad", "error"), ("b", "image")]),
        planned([("c", "image"), ("d", "image")]),
        planned([("t.tar", "archive")]),
        planned([("e", "image")]),
    ]
    contents = [{"a": "1", "b": "1"}, {"c": "1", "d": "1"}, {"t.tar!/x": "2", "t.tar!/y": "1"}, {"e": "2"}]
    counts: dict[str, int] = {}

    found = list(planned_without(shards, copies_of(hashed(tmp_path / "h", contents)), counts))

    shown: Any = [[(row["uri"], row["kind"]) for row in shard] for shard in found]
    assert shown == [
        [("a", "image"), ("bad", "error")],
        [("t.tar", "archive"), ("t.tar!/y", "skip")],
        [("b", "copy"), ("c", "copy"), ("d", "copy"), ("t.tar!/y", "copy"), ("e", "copy")],
    ]
    assert [original_of(row) for row in found[2]] == [("a", 0)] * 4 + [("t.tar!/x", 1)]
    assert counts == {"duplicates": 5, "copy_shards": 1}
    for shard in found:
        pa.Table.from_pylist(shard, schema=IMAGE_PLAN)


def test_many_copies_are_several_shards_and_none_are_none(tmp_path: Path) -> None:
    names = [f"{n}" for n in range(COPIES_A_SHARD + 2)]
    counts: dict[str, int] = {}
    shards = [planned([(name, "image") for name in names])]
    same = hashed(tmp_path / "same", [dict.fromkeys(names, "x")])
    assert [len(shard) for shard in planned_without(shards, copies_of(same), counts)] == [1, COPIES_A_SHARD, 1]
    different = hashed(tmp_path / "different", [{name: name for name in names}])
    assert [len(shard) for shard in planned_without(shards, copies_of(different), counts)] == [len(names)]
    assert counts == {"duplicates": 0, "copy_shards": 0}
