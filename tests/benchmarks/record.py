"""A benchmark's figures in the form of the record: `python -m infra.results --merge FILE` takes them in."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from infra.results import Figure, figure, write

Measured = tuple[float | Sequence[float], str, str]
"""A value, or one of each seed; its unit; what it was measured on."""


def write_record(file: Path | None, figures: Mapping[str, Measured]) -> None:
    """Say the figures, and write them to `file` where one was asked for."""
    made = {key: _figure(values, unit, split) for key, (values, unit, split) in figures.items()}
    for key, each in made.items():
        print(f"{key:<40} {each.value:>10g} {each.unit}")
    if file:
        write(file, made)


def photographs(count: int, folder: Path) -> str:
    """What a figure was measured on, by the collection's name: `flickr8k` for photographs in flickr8k/images."""
    return f"{count:,} photographs of {folder.resolve().parent.name}"


def command() -> str:
    """What was typed, with <path> for every path of this machine and without where the figures go."""
    words = sys.argv[1:]
    if "--json" in words:
        at = words.index("--json")
        words = words[:at] + words[at + 2 :]
    shown = ["<path>" if "/" in word or Path(word).exists() else word for word in words]
    spec = sys.modules["__main__"].__spec__
    return " ".join(["python -m", spec.name if spec else "", *shown])


def _figure(values: float | Sequence[float], unit: str, split: str) -> Figure:
    if isinstance(values, float | int):
        return figure(values, unit, split, command())
    made = figure(statistics.mean(values), unit, split, command())
    spread = round(statistics.stdev(values), 4) if len(values) > 1 else None
    return replace(made, seeds=len(values), spread=spread)
