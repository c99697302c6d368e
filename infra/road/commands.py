"""Running the road's commands one after the other, and keeping their figures."""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from infra.results import Figure, write

ARCHIVE_CUT = 3
"""Exit status of a stage whose table is finished although an archive ended early."""


class Road:
    """A folder in which the stages of one road leave their tables, models and figures."""

    def __init__(self, output: Path) -> None:
        self.output = output.resolve()
        self.fresh = not self.output.exists()
        """Whether the road began from nothing: only then does its time mean anything."""
        self.output.mkdir(parents=True, exist_ok=True)
        self.started = time.monotonic()

    def path(self, name: str) -> str:
        """The path of something below the road's folder."""
        return str(self.output / name)

    def run(self, module: str, *words: str, **options: str | int | float | bool) -> None:
        """Run `python -m module words… --option value…`, shown as it would be typed; leaves with its exit status.

        `decode__beam=7` is `--decode.beam 7`, `whole_images=False` is `--no-whole-images`.
        """
        arguments = [*words, *itertools.chain.from_iterable(_option(name, value) for name, value in options.items())]
        print(f"\n$ python -m {module} {shlex.join(arguments)}", flush=True)
        started = time.monotonic()
        status = subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
        if status not in (0, ARCHIVE_CUT):
            print(f"The road stops here: {module} ended with exit status {status}.", file=sys.stderr)
            sys.exit(status if status > 0 else 1)
        print(f"[{time.monotonic() - started:.0f} s, {self.seconds:.0f} s in all]", flush=True)

    def figures(self, name: str, command: str, **options: str | int | float | bool) -> dict[str, float]:
        """Run `vsalign evaluate command …` and give the figures that it wrote."""
        file = self.output / "figures" / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        self.run("vsalign.cli", "evaluate", command, **options, json=str(file))
        figures: dict[str, float] = json.loads(file.read_text())
        return figures

    @property
    def seconds(self) -> float:
        """Wall-clock since the road began (this run's, where an earlier one was killed)."""
        return time.monotonic() - self.started

    def finish(self, title: str, figures: Mapping[str, Figure], gallery: str) -> None:
        """Write results.json (the form of docs/results.json) and print the last screen."""
        write(self.output / "results.json", dict(figures))
        width = max(map(len, figures))
        print(f"\n{title}")
        for key, entry in figures.items():
            print(f"  {key:<{width}}  {entry.value:8.3f}  {entry.unit}")
        print(f"  took {self.seconds:.0f} s; figures: {self.output / 'results.json'}\n  gallery: {gallery}")


def _option(name: str, value: str | int | float | bool) -> list[str]:
    flag = name.replace("__", ".").replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", str(value)]
