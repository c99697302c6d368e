"""What is done of a table, from another terminal: nothing is claimed, changed or waited for."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from vsalign.errors import MissingInputError
from vsalign.storage.claim import read_json
from vsalign.storage.folder import Folder
from vsalign.storage.layout import MANIFEST, PART, PLAN, RUN
from vsalign.storage.shards import ShardResult, ShardTask, check_shard

READERS = 16
"""Shards whose footers are read at once."""


@dataclass(frozen=True)
class Status:
    """A table as it is now."""

    table: str
    complete: bool
    """Whether its manifest is written; readers open it then, and not before."""
    planned: int | None
    """Shards; None while the inputs are still listed."""
    done: int
    """Shards that are committed."""
    rows: int
    inputs: int
    """Of the committed shards."""
    errors: dict[str, int]
    """Of these, by reason."""
    archive_errors: dict[str, int]
    seconds_since: float | None
    """Since the last commit; None where there is none."""
    shards_per_hour: float | None
    """Between the first and the last commit; None where there are fewer than two."""


def table_status(url: str) -> Status:
    """What is done of the table at `url`; raises MissingInputError where there is none."""
    folder = Folder(url)
    if not folder.exists(RUN):
        raise MissingInputError(f"there is no table at {url}: check the name")
    run = read_json(folder, RUN, "table")
    planned = read_json(folder, PLAN, "shards")["shards"] if folder.exists(PLAN) else None
    newest: dict[int, int] = {}
    for name in folder.names():
        if match := PART.fullmatch(name):
            newest[int(match[1])] = max(newest.get(int(match[1]), 0), int(match[2]))
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(lambda part: _shard(folder, *part), sorted(newest.items())))
    results = [result for result, _ in found if result is not None]
    times = sorted(moment for result, moment in found if result is not None and moment is not None)
    span = times[-1] - times[0] if times else 0.0
    return Status(
        table=run["table"],
        complete=folder.exists(MANIFEST),
        planned=planned,
        done=len(results),
        rows=sum(result.rows for result in results),
        inputs=sum(result.inputs for result in results),
        errors=_sum(result.errors for result in results),
        archive_errors=_sum(result.archive_errors for result in results),
        seconds_since=time.time() - times[-1] if times else None,
        shards_per_hour=3600 * (len(times) - 1) / span if span > 0 else None,
    )


def _shard(folder: Folder, shard: int, generation: int) -> tuple[ShardResult | None, float | None]:
    """What a part holds, and when it was committed (seconds since 1970)."""
    result = check_shard(folder, ShardTask(shard, "", 0, generation))
    return result, None if result is None else _written(folder, result.file)


def _written(folder: Folder, name: str) -> float | None:
    """None where the store does not tell."""
    try:
        return float(folder.fs.modified(folder.path(name)).timestamp())
    except (OSError, NotImplementedError, KeyError, AttributeError, ValueError):
        return None


def _sum(counts: Any) -> dict[str, int]:
    found: Counter[str] = Counter()
    for each in counts:
        found.update(each)
    return dict(sorted(found.items()))
