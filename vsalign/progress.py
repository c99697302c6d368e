"""What a person sees of long work: a line while it runs, a screen when it ends."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TextIO

SECONDS_BETWEEN_UPDATES = 0.2
"""On a terminal; more often than five times a second is flicker."""

SECONDS_BETWEEN_LINES = 60.0
"""Without a terminal: a log of ten hours stays 600 lines."""

RATE_WINDOW = 60
"""Samples, a second or more apart, that the rate is taken over: a slow start must not spoil the time left."""


class Progress:
    """Counts items and errors from any thread; shows a terminal's updating line, or else a line a minute.

    `total` items of `unit` ("images") are to be done, None when nobody knows; `already` of them, done by an
    earlier run, count as done but not in the rate. Without a terminal the first line comes after a minute.
    """

    def __init__(
        self,
        total: int | None,
        unit: str = "items",
        stream: TextIO | None = None,
        *,
        label: str = "",
        already: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.unit, self.label = total, unit, label
        self.done, self.errors = already, 0
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._pause = SECONDS_BETWEEN_UPDATES if self._terminal else SECONDS_BETWEEN_LINES
        self._clock = clock
        self._started = clock()
        self._due = self._started + self._pause
        self._samples: deque[tuple[float, int]] = deque([(self._started, already)], maxlen=RATE_WINDOW)
        self._already = already
        self._closed = False
        self._lock = threading.Lock()
        self.cost: Callable[[float], str] | None = None
        """What so many seconds cost, as it is shown; None: nothing is said of it."""

    def add(self, items: int = 1, errors: int = 0) -> None:
        """Count `items` as done, `errors` of them unusable; shows the line when its time has come."""
        with self._lock:
            self.done += items
            self.errors += errors
            now = self._clock()
            if now - self._samples[-1][0] >= 1:
                self._samples.append((now, self.done))
            if now >= self._due and not self._closed:
                self._due = now + self._pause
                self._show(now)

    def line(self) -> str:
        """The line as it would be shown now."""
        with self._lock:
            return self._line(self._clock())

    def close(self) -> None:
        """Show the last line, with the rate of the whole run; further calls do nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._show(self._clock())
            if self._terminal:
                self._stream.write("\n")
                self._stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _show(self, now: float) -> None:
        line = self._line(now)
        if self._terminal:
            width = shutil.get_terminal_size().columns
            # "\x1b[K" clears what a longer line before left behind.
            self._stream.write(f"\r{line[: width - 1]}\x1b[K")
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def _line(self, now: float) -> str:
        counts = f"{self.done:,} {self.unit}"
        if self.total is not None:
            share = f" ({100 * self.done / self.total:.1f} %)" if self.total else ""
            counts = f"{self.done:,} of {self.total:,} {self.unit}{share}"
        start, before = (self._started, self._already) if self._closed else self._samples[0]
        rate = (self.done - before) / (now - start) if now > start else 0.0
        parts = [counts, format_rate(rate, self.unit)]
        if self.errors:
            parts.append(f"{self.errors:,} {'error' if self.errors == 1 else 'errors'}")
        if self._closed:
            parts.append(f"in {format_duration(now - self._started)}")
        elif self.total is not None and rate > 0:
            parts.append(f"{format_duration(max(self.total - self.done, 0) / rate)} left")
        if self.cost is not None:
            parts.append(self.cost(now - self._started))
        return (f"{self.label}: " if self.label else "") + ", ".join(parts)


@dataclass(frozen=True)
class Summary:
    """One screen about a finished stage; that inputs = rows + errors is the stage's to check."""

    title: str
    """What finished, "extract_regions finished"."""

    rows: int
    """Rows in the table now."""

    output: str
    """Where the table, the model or the page is."""

    seconds: float
    """Wall-clock time of this run."""

    unit: str = "rows"
    """What a row is, in plural: "images"."""

    inputs: int | None = None
    """Items listed; None where a stage lists none."""

    errors: Mapping[str, int] = field(default_factory=dict)
    """Unusable inputs by reason."""

    already: int = 0
    """Of the inputs, how many an earlier run had committed; they do not count in the rate."""

    notes: Mapping[str, str | int | float] = field(default_factory=dict)
    """Further lines, name to value: litter, duplicates, a score."""

    def lines(self) -> list[str]:
        """The screen's lines."""
        rows: list[tuple[str, str]] = []
        if self.inputs is not None:
            rows.append(("inputs", f"{self.inputs:,}"))
        if self.already:
            rows.append(("done before", f"{self.already:,}"))
        rows.append((self.unit, f"{self.rows:,}"))
        rows.append(("errors", f"{sum(self.errors.values()):,}"))
        by_count = sorted(self.errors.items(), key=lambda item: (-item[1], item[0]))
        rows += [(f"  {reason}", f"{count:,}") for reason, count in by_count]
        rows += [(name, _number(value)) for name, value in self.notes.items()]
        worked = (self.rows + sum(self.errors.values()) if self.inputs is None else self.inputs) - self.already
        rows.append(("time", format_duration(self.seconds)))
        if self.seconds > 0:
            rows.append(("rate", format_rate(worked / self.seconds, self.unit)))
        rows.append(("output", self.output))
        width = max(len(name) for name, _ in rows)
        return [self.title, *(f"  {name:<{width}}  {value}" for name, value in rows)]

    def print(self, stream: TextIO | None = None) -> None:
        """Write the screen to `stream` (default: standard output)."""
        out = sys.stdout if stream is None else stream
        out.write("\n".join(self.lines()) + "\n")
        out.flush()


def last_screen(
    title: str,
    url: str,
    unit: str,
    facts: Mapping[str, Any],
    already: int | None,
    notes: Mapping[str, str | int | float] | None = None,
) -> int:
    """Print what the finished table at `url` holds, and return the exit status: 0, or 3 where an archive ended early.

    facts: as its manifest has them, rows, inputs, errors, archive_errors, counts and seconds. already: inputs that
    earlier runs had done; None where this run found the table complete and did nothing.
    """
    lines: dict[str, str | int | float] = {name.replace("_", " "): count for name, count in facts["counts"].items()}
    if facts["archive_errors"]:
        lines["archives not whole"] = sum(facts["archive_errors"].values())
    Summary(
        title=title,
        rows=facts["rows"],
        output=url,
        seconds=0.0 if already is None else facts["seconds"],
        unit=unit,
        inputs=facts["inputs"],
        errors=facts["errors"],
        already=already or 0,
        notes={**lines, **(notes or {})},
    ).print()
    return 3 if facts["archive_errors"] else 0


def format_duration(seconds: float) -> str:
    """Seconds in the two largest units that matter: "0.4 s", "4 min 53 s", "2 h 05 min", "3 d 4 h"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def format_rate(per_second: float, unit: str) -> str:
    """A rate with three digits: "1,234 images/s", "12.3 images/s"; below one a second "4.2 images/min"."""
    if 0 < per_second < 1:
        return f"{60 * per_second:.1f} {unit}/min"
    digits = 0 if per_second >= 99.95 else 1 if per_second >= 9.995 else 2
    return f"{per_second:,.{digits}f} {unit}/s"


def _number(value: str | int | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
