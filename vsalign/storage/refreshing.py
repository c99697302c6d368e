"""A plan that takes in inputs which were not there when it was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vsalign.hashes import HashedNames
from vsalign.storage.folder import Folder
from vsalign.storage.shards import plan_damaged

STAND_FOR_MANY = {"archive", "regions"}
"""Kinds of a plan's rows of which each holds a number of inputs that nobody has counted: a shard of its own."""

Rows = list[dict[str, Any]]


def known_inputs(folder: Folder, files: Iterable[str]) -> HashedNames:
    """The URIs that a plan's files list. Raises TableError for a damaged file."""
    return HashedNames.of(listed_inputs(folder, files))


def listed_inputs(folder: Folder, files: Iterable[str]) -> Iterator[str]:
    """The same, one after the other."""
    for name in files:
        try:
            with folder.open(name) as file:
                plan = pq.ParquetFile(file)
                for group in range(plan.num_row_groups):
                    yield from plan.read_row_group(group, columns=["uri"])["uri"].to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise plan_damaged(folder.url, name, error) from error


def new_shards(shards: Iterable[Rows], known: HashedNames) -> Iterator[Rows]:
    """The rows that are not known, in shards of the size that the listing's have."""
    size, waiting = 0, Rows()
    for shard in shards:
        fresh = [row for row in shard if row["uri"] not in known]
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
