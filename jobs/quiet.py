"""Ray's own log lines kept from the terminal: its C++ core writes them to file descriptor 2, past Python's logging."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator

LOG_LINE = re.compile(rb"\[\d{4}-\d\d-\d\d [\d:,]+ [DIWE] \d+ \d+\] ")
"""A line of Ray's core below the level `C`(ritical), as in `[2026-01-31 12:00:00,000 W 12 12] gcs_client.cc:1: ...`."""


@contextlib.contextmanager
def without_core_log() -> Iterator[None]:
    """Within it, such lines are dropped (they stand in Ray's log folder too); all others pass on as they come."""
    try:
        own = sys.stderr.fileno() == 2
    except (OSError, ValueError, AttributeError):
        own = False  # a test's capture, or no stderr at all
    if not own:
        yield
        return
    real, before = os.dup(2), sys.stderr
    read, write = os.pipe()
    os.dup2(write, 2)
    os.close(write)
    # Python's own lines go around the pipe: a terminal stays one.
    sys.stderr = os.fdopen(os.dup(real), "w", buffering=1, errors="backslashreplace")
    threading.Thread(target=_pass_on, args=(read, real), name="core_log", daemon=True).start()
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = before
        os.dup2(real, 2)


def _pass_on(read: int, real: int) -> None:
    with os.fdopen(read, "rb") as lines:
        for line in lines:
            if not LOG_LINE.match(line):
                os.write(real, line)
