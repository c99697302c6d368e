"""Pictures of equal bytes: found by their hashes, left out of a plan, and planned as copies of the first of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from vsalign.images.sources import ARCHIVE, SKIP
from vsalign.storage import TableReader

COPY = "copy"
"""Kind of a plan's row: a picture whose row is that of another one, which `message` names."""
COPIES_A_SHARD = 1024
"""Their rows wait in memory together, those of a regions table too."""

Row = dict[str, Any]


def content_hash(data: bytes) -> str:
    """BLAKE2b of encoded bytes, 128 bits, in hexadecimal digits."""
    return blake2b(data, digest_size=16).hexdigest()


@dataclass(frozen=True)
class Copy:
    """A picture with the bytes of an earlier one."""

    image_id: str
    uri: str
    of: str
    """The first one's URI."""
    shard: int
    """Where that is, in the hashes table."""


def first_of_equals(digests: np.ndarray) -> np.ndarray:
    """Of 128-bit hashes (n, 2) uint64: for each the position (n,) of the first that equals it, its own where none does.

    32 bytes a hash while it works, beside them.
    """
    count = len(digests)
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    starts = np.ones(count, dtype=bool)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(1)
    group = np.maximum.accumulate(np.where(starts, np.arange(count), 0))
    found = np.empty(count, np.int64)
    found[order] = order[group]  # lexsort is stable: the first of a group is the first of all
    return found


def copies_of(hashes: TableReader) -> Iterator[list[Copy]]:
    """The pictures of each shard of a hashes table that have the bytes of an earlier one; two passes over it."""
    digests = [_digests(batch.column(0).to_pylist()) for batch in hashes.batches(["content_hash"])]
    first = first_of_equals(np.concatenate(digests)) if digests else np.zeros(0, np.int64)
    wanted = set(np.unique(first[first != np.arange(len(first))]).tolist())
    firsts: dict[int, tuple[str, int]] = {}
    position = 0
    for shard in range(len(hashes.shards)):
        copies = []
        for batch in hashes.batches(["image_id", "uri"], [shard]):
            for row in batch.to_pylist():
                if position in wanted:
                    firsts[position] = row["uri"], shard
                if first[position] != position:
                    copies.append(Copy(row["image_id"], row["uri"], *firsts[int(first[position])]))
                position += 1
        yield copies


def planned_without(
    shards: Iterable[list[Row]], copies: Iterable[list[Copy]], counts: dict[str, int]
) -> Iterator[list[Row]]:
    """The shards of a listing (rows of IMAGE_PLAN) without copies, then shards of these; a shard of none is left out.

    counts: `duplicates` and `copy_shards` are set at the end. Of an archive the copies are named, to be passed over.
    """
    renumbered: dict[int, int] = {}
    waiting: list[Copy] = []
    made = 0
    for number, (rows, own) in enumerate(zip(shards, copies, strict=True)):
        waiting += own
        if rows[0]["kind"] == ARCHIVE:
            kept = rows + [_row(copy.image_id, copy.uri, SKIP) for copy in own]
        else:
            left_out = {copy.uri for copy in own}
            kept = [row for row in rows if row["uri"] not in left_out]
        if kept:
            renumbered[number] = made
            made += 1
            yield kept
    for start in range(0, len(waiting), COPIES_A_SHARD):
        some = waiting[start : start + COPIES_A_SHARD]
        yield [
            _row(each.image_id, each.uri, COPY, json.dumps({"uri": each.of, "shard": renumbered[each.shard]}))
            for each in some
        ]
    counts["duplicates"] = len(waiting)
    counts["copy_shards"] = -(-len(waiting) // COPIES_A_SHARD)


def original_of(row: Mapping[str, Any]) -> tuple[str, int]:
    """The URI and the shard of the picture that a row of kind COPY is a copy of."""
    of = json.loads(row["message"])
    return str(of["uri"]), int(of["shard"])


def _row(image_id: str, uri: str, kind: str, message: str = "") -> Row:
    return {"image_id": image_id, "uri": uri, "kind": kind, "reason": "", "message": message}


def _digests(texts: list[str]) -> np.ndarray:
    return np.frombuffer(bytes.fromhex("".join(texts)), np.uint64).reshape(-1, 2)
