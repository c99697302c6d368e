"""`vsalign status`: what is done of a table that a stage is making, from another terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vsalign.options import parse, with_names
from vsalign.progress import format_duration
from vsalign.storage.status import Status, table_status

SECONDS_AN_HOUR = 3600


@dataclass(frozen=True)
class StatusOptions:
    """What `vsalign status` is asked for; the name of the option may be left out."""

    table: str
    """Folder or URL of a table, complete or in the making."""


def lines(status: Status) -> list[str]:
    """What is said of it."""
    if status.complete:
        state = "complete"
    elif status.planned is None:
        state = "its inputs are still listed"
    else:
        state = f"in the making, {100 * status.done / max(status.planned, 1):.1f} % of its shards"
    failed = sum(status.errors.values())
    said = [
        f"{status.table} table: {state}",
        f"  shards  {status.done:,}" + ("" if status.planned is None else f" of {status.planned:,}"),
        f"  inputs  {status.inputs:,} in these: {status.rows:,} rows, {failed:,} errors",
    ]
    said += [f"    {reason}  {count:,}" for reason, count in sorted(status.errors.items(), key=lambda each: -each[1])]
    if status.archive_errors:
        said.append(f"  archives not whole  {sum(status.archive_errors.values()):,}")
    if status.seconds_since is not None:
        rate = ""
        if status.shards_per_hour:
            rate = f", {status.shards_per_hour:,.0f} shards an hour"
            if not status.complete and status.planned:
                left = (status.planned - status.done) / status.shards_per_hour * SECONDS_AN_HOUR
                rate += f", {format_duration(left)} left at that rate"
        said.append(f"  last    {format_duration(status.seconds_since)} ago{rate}")
    return said


def main(argv: Sequence[str]) -> int:
    """The command."""
    given = with_names(argv, "--table")
    about = "Say what is done of a table, also while a stage makes it."
    options = parse(StatusOptions, given, prog="vsalign status", description=about)
    print("\n".join(lines(table_status(options.table))))
    return 0
