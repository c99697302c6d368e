"""The record of what was measured: docs/results.json, and docs/results.md made from it.

python -m infra.results                              make docs/results.md again
python -m infra.results --merge runs/x/results.json  take a road's figures into the record first
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vsalign.command import exit_status
from vsalign.errors import MissingInputError
from vsalign.options import parse

ROOT = Path(__file__).parents[1]
RECORD, PAGE = ROOT / "docs" / "results.json", ROOT / "docs" / "results.md"
NOTES = ROOT / "docs" / "results_notes.md"
"""What stands below the table, written by hand: what the figures mean, and the paper's own lines. A `{key}` in it is
the record's value."""
KEY = re.compile(r"\{([a-z0-9_.]+)\}")


@dataclass(frozen=True)
class Figure:
    """One measured figure."""

    value: float
    unit: str
    split: str
    """What it was measured on."""
    seeds: int
    """How many seeds the value is the mean of."""
    spread: float | None
    """Standard deviation over the seeds; None for one seed."""
    machine: str
    command: str
    """What repeats it."""
    commit: str


def figure(value: float, unit: str, split: str, command: str) -> Figure:
    """A figure of one seed, measured here and now."""
    return Figure(round(value, 4), unit, split, 1, None, machine(), command, commit())


def machine() -> str:
    """The machine in a few words: cores, memory, kind of processor."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, {gpu}"


def commit() -> str:
    """The commit of the working tree, with + where it has changes; empty outside git."""
    try:
        revision = _git("rev-parse", "--short=12", "HEAD")
        return revision + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


@dataclass(frozen=True)
class ResultsOptions:
    """What is taken into the record."""

    merge: str = ""
    """A results.json of a road: its figures replace those of the same key."""


def main(argv: Sequence[str] | None = None) -> int:
    """Make docs/results.md; see --help."""
    about = "Makes docs/results.md from docs/results.json."
    return exit_status(lambda: run(parse(ResultsOptions, argv, prog="python -m infra.results", description=about)))


def run(options: ResultsOptions) -> int:
    """Merge, and render the page."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if options.merge:
        if not Path(options.merge).exists():
            raise MissingInputError(f"there is no {options.merge}: run a road first, it writes one")
        record |= json.loads(Path(options.merge).read_text())
        RECORD.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n")
    PAGE.write_text(page(record))
    print(f"{len(record)} figures in {PAGE.relative_to(ROOT)}")
    return 0


def page(record: dict[str, dict[str, Any]]) -> str:
    """docs/results.md."""
    lines = [
        "# Results",
        "",
        "Made from `docs/results.json` by `python -m infra.results`; the notes are `docs/results_notes.md`.",
        "",
        "| key | value | unit | split | seeds | spread | command |",
        "|---|---:|---|---|---:|---:|---|",
    ]
    for key, entry in sorted(record.items()):
        spread = "" if entry["spread"] is None else f"{entry['spread']:g}"
        lines.append(
            f"| `{key}` | {entry['value']:g} | {entry['unit']} | {entry['split']} | {entry['seeds']} | {spread} "
            f"| `{entry['command']}` |"
        )
    machines = sorted({entry["machine"] for entry in record.values()})
    commits = sorted({entry["commit"] for entry in record.values()})
    lines += ["", f"Machine: {'; '.join(machines)}. Commits: {', '.join(commits)}.", ""]
    notes = NOTES.read_text() if NOTES.exists() else ""
    return "\n".join(lines) + KEY.sub(lambda found: _value(record, found[1]), notes)


def _value(record: dict[str, dict[str, Any]], key: str) -> str:
    if key not in record:
        return "not measured"
    value = record[key]["value"]
    if 0.995 <= value < 1:  # of a share that is nearly all, what matters is the rest
        return f"{value:.4f}"
    return f"{value:.1f}" if abs(value) >= 2 else f"{value:.2f}"


def write(path: Path, figures: dict[str, Figure]) -> None:
    """A road's results.json, in the record's form."""
    path.write_text(json.dumps({key: asdict(value) for key, value in figures.items()}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
