"""A plan that takes in inputs which were not there when it was written."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vsalign.storage.folder import Folder
from vsalign.storage.shards import plan_damaged

STAND_FOR_MANY = {"archive", "regions"}
"""Kinds of a plan's rows of which each holds a number of inputs that nobody has counted: a shard of its own."""

Rows = list[dict[str, Any]]


def known_inputs(folder: Folder, files: Iterable[str]) -> np.ndarray:
    """What a plan's files list, as sorted 64-bit hashes of URIs: 8 bytes each. Raises TableError for a damaged file.

    Among ten million the chance that a new one is taken for one of them is five in a million.
    """
    found = array("Q")
    for name in files:
        try:
            with folder.open(name) as file:
                plan = pq.ParquetFile(file)
                for group in range(plan.num_row_groups):
                    found.extend(map(_hash, plan.read_row_group(group, columns=["uri"])["uri"].to_pylist()))
        except (OSError, pa.ArrowException) as error:
            raise plan_damaged(folder.url, name, error) from error
    return np.sort(np.frombuffer(found, np.uint64)) if found else np.zeros(0, np.uint64)


def new_shards(shards: Iterable[Rows], known: np.ndarray) -> Iterator[Rows]:
    """The rows that are not known, in shards of the size that the listing's have."""
    size, waiting = 0, Rows()
    for shard in shards:
        fresh = [row for row in shard if not _is_known(row, known)]
        if fresh and fresh[0].get("kind") in STAND_FOR_MANY:
            yield fresh
            continue
        size = max(size, len(shard))
        waiting += fresh
        while len(waiting) >= size > 0:
            yield waiting[:size]
            waiting = waiting[size:]
    if waiting:
        yield waiting


def _is_known(row: dict[str, Any], known: np.ndarray) -> bool:
    value = np.uint64(_hash(row["uri"]))
    at = int(np.searchsorted(known, value))
    return at < len(known) and bool(known[at] == value)


def _hash(uri: str) -> int:
    return int.from_bytes(blake2b(uri.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
