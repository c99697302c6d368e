"""The names of a table's files: which are ours, and so may be swept or overwritten, and in what order."""

from __future__ import annotations

import re

RUN, PLAN, MANIFEST = "_run.json", "_plan.json", "_manifest.json"

TEMPORARY_SUFFIX = ".tmp"

PART = re.compile(r"part-(\d{5,})\.g(\d+)\.parquet")
"""A rows file: the shard's number and the generation."""

ERRORS = re.compile(r"errors/part-(\d{5,})\.g(\d+)\.[0-9a-f]{12}\.parquet")
"""An errors file: its shard, generation and attempt."""

PLANNED = re.compile(r"_plan/(\d{5,})\.[0-9a-f]{12}\.parquet")
"""A file of a plan, by number and attempt: a plan that was never finished shares no file with the one that stands."""

TEMPORARY = re.compile(r"(errors/|_plan/|)\.([^/]+)\.[0-9a-f]{32}" + re.escape(TEMPORARY_SUFFIX))
"""What a killed local write leaves behind: the file's folder and name."""


def part_file(shard: int, generation: int) -> str:
    return f"part-{shard:05d}.g{generation}.parquet"


def errors_file(shard: int, generation: int, attempt: str) -> str:
    return f"errors/part-{shard:05d}.g{generation}.{attempt}.parquet"


def plan_file(number: int, attempt: str) -> str:
    return f"_plan/{number:05d}.{attempt}.parquet"


def holds_table(name: str) -> bool:
    """Whether a file, by its name below the folder, is one of a table's."""
    return name in (RUN, PLAN, MANIFEST) or any(kind.fullmatch(name) for kind in (PART, ERRORS, PLANNED))


def is_temporary(name: str) -> bool:
    """Whether a file is the beginning of one of a table's, never finished."""
    match = TEMPORARY.fullmatch(name)
    return bool(match and holds_table(match[1] + match[2]))


def deletion_order(name: str) -> tuple[int, str]:
    """In which order an overwritten table goes, so that one killed half-way is never taken for another.

    The sign of completeness goes first, the plan after what was made from it, and last the file by which the folder
    is known as a table of its old configuration.
    """
    last = {MANIFEST: 0, PLAN: 2, RUN: 4}
    return last.get(name, 3 if PLANNED.fullmatch(name) else 1), name
