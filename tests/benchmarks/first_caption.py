"""From the start of a process to what is on a photograph: the README's three lines, with the packaged models.

python -m tests.benchmarks.first_caption --photograph FILE --json FILE
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.record import write_record

LINES = "import sys, vsalign; model = vsalign.load(); print(model.describe(sys.argv[1]).caption)"


def seconds(photograph: str) -> float:
    """Of one process, from its start to its end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", LINES, photograph], check=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photograph", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    found = max(seconds(asked.photograph) for _ in range(asked.rounds))
    figures = {"describe.first_caption_seconds": (found, f"s (slowest of {asked.rounds} processes)", "one photograph")}
    write_record(asked.json, figures)


if __name__ == "__main__":
    main()
