"""The last screen of a stage, made of its table's manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping

from vsalign import progress
from vsalign.storage import Folder
from vsalign.storage.layout import MANIFEST


def print_summary(
    title: str,
    url: str,
    unit: str,
    already: int | None,
    notes: Mapping[str, str | int | float] | None = None,
) -> int:
    """Print what the finished table at `url` holds, and return the exit status: 0, or 3 where an archive ended early.

    `already`: inputs that earlier runs had done; None where this run found the table complete and did nothing.
    """
    return progress.last_screen(title, url, unit, json.loads(Folder(url).read(MANIFEST)), already, notes)
