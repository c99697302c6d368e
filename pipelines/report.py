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
    manifest = json.loads(Folder(url).read(MANIFEST))
    lines: dict[str, str | int | float] = {name.replace("_", " "): count for name, count in manifest["counts"].items()}
    if manifest["archive_errors"]:
        lines["archives not whole"] = sum(manifest["archive_errors"].values())
    progress.Summary(
        title=title,
        rows=manifest["rows"],
        output=url,
        seconds=0.0 if already is None else manifest["seconds"],
        unit=unit,
        inputs=manifest["inputs"],
        errors=manifest["errors"],
        already=already or 0,
        notes={**lines, **(notes or {})},
    ).print()
    return 3 if manifest["archive_errors"] else 0
