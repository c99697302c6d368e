"""A stage run to its end in processes of its own, with its peak memory and its time."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from tests.pipelines.stages import Stages

SECONDS_BETWEEN_LOOKS = 0.1
EXPECTED = re.compile(r"extractor \S+: |[\d,]+ (of [\d,]+ )?images[ ,]|extract_regions finished$|  +\S|$")
"""The lines that a run may say: the extractor, progress, the last screen."""


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    status: int
    seconds: float
    driver_peak: int
    """Bytes of memory that the driver held at most (its VmHWM: a child's ru_maxrss would count the parent's size)."""
    worker_peak: int
    """The same of the largest worker process; 0 without one."""
    unexpected: list[str]
    """Lines that are no progress and no last screen: a warning, a traceback."""

    @property
    def peak(self) -> int:
        """Bytes that the largest of the processes held."""
        return max(self.driver_peak, self.worker_peak)


def run_to_its_end(module: str, arguments: list[str], log: Path, longest: float) -> Ended:
    """Run a stage, what it says going to `log`; one that takes more than `longest` seconds is killed and an error."""
    stages, peaks, worker_peak, started = Stages(), [0], 0, time.monotonic()
    with log.open("w") as said:
        process = stages.start(module, *arguments, log=said)
    while process.poll() is None:
        peaks.append(peak_memory(process.pid))
        worker_peak = max([worker_peak, *map(peak_memory, stages.workers_of(process.pid))])
        if time.monotonic() - started > longest:
            process.kill()
            process.wait()
            raise AssertionError(f"the run was not at its end after {longest:.0f} s: {log.read_text()[-2000:]}")
        time.sleep(SECONDS_BETWEEN_LOOKS)
    lines = log.read_text().splitlines()
    unexpected = [line for line in lines if not EXPECTED.match(line)]
    return Ended(process.returncode, time.monotonic() - started, max(peaks), worker_peak, unexpected)


def peak_memory(process: int) -> int:
    """The most bytes that a running process has held; 0 where it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0
