"""The stages as a person starts them, in processes of their own, and what they leave behind."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from vsalign.storage import TableReader

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
GOOD = 40
BAD = {"c_cut.jpg": "TRUNCATED", "h_empty.jpg": "EMPTY", "k_page.jpg": "NOT_IMAGE", "p_cut.png": "TRUNCATED"}


def picture(seed: int, format: str = "JPEG") -> bytes:
    """An encoded picture of random rectangles, its size and content by `seed`."""
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(40, 160, 2))
    pixels = np.full((height, width, 3), random.integers(0, 256, 3), np.uint8)
    for _ in range(5):
        top, left = random.integers(0, height), random.integers(0, width)
        pixels[top : top + 30, left : left + 40] = random.integers(0, 256, 3)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, format)
    return sink.getvalue()


class Stages:
    """The stages as a person starts them, and what they leave behind."""

    root = ROOT
    good, bad = GOOD, BAD
    picture = staticmethod(picture)

    def small(self, pictures: Path | str, output: Path | str, *more: str) -> list[str]:
        """The options of a quick extraction: a small network input, shards of two pictures."""
        return [
            *("--images", str(pictures), "--output", str(output), "--extractor.name", "lite"),
            *("--extractor.input-size", "64", "--shard-size", "2", "--batch-size", "2", "--threads", "1", *more),
        ]

    def start(self, module: str, *arguments: str, log: IO[str] | None = None) -> subprocess.Popen[str]:
        """A stage in a process of its own, as `python -m` starts it; what it says goes into pipes, or all into `log`.

        Workers that outlive a killed driver hold its pipes open; who goes on without waiting for them gives a log.
        """
        command = [sys.executable, "-m", module, *arguments]
        out = subprocess.PIPE if log is None else log
        return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=out, stderr=out, text=True)

    def run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A stage in a process of its own, to its end."""
        process = self.start(module, *arguments)
        out, err = process.communicate(timeout=110)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def wait_for_parts(self, output: Path, count: int, process: subprocess.Popen[str]) -> None:
        """Return as soon as `count` shards are committed; the process must still be running then."""
        deadline = time.monotonic() + 100
        while len(self.parts(output)) < count:
            assert time.monotonic() < deadline, f"{count} shards were not committed in time"
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)

    def parts(self, output: Path) -> list[str]:
        """The rows files of a table in the making."""
        return sorted(path.name for path in output.glob("part-*.parquet"))

    def same_table(self, first: Path | str, second: Path | str, table: str = "regions") -> bool:
        """Whether two tables hold the same rows and errors, byte for byte and in the same order."""
        one, other = TableReader(str(first), table), TableReader(str(second), table)
        return one.read().equals(other.read()) and one.errors().equals(other.errors())

    def workers_of(self, driver: int) -> list[int]:
        """The worker processes that a driver has (had) started, by their command line."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            except OSError:
                continue
            if command[-2:] == [b"pipelines.worker", str(driver).encode()]:
                found.append(int(folder.name))
        return found

    def all_gone(self, driver: int, seconds: float = 10) -> bool:
        """Whether a driver's workers end within `seconds`."""
        deadline = time.monotonic() + seconds
        while self.workers_of(driver) and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.workers_of(driver)
