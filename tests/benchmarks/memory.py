"""Peak memory of extraction over 1,000 photographs, over all, and over a list of a million URIs of which a few exist.

The extractor is the default one, in batches of 16 and one thread.

python -m tests.benchmarks.memory --images DIR --json FILE
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.measured import run_to_its_end
from tests.benchmarks.record import write_record
from vsalign.storage import TableReader

MODULE = "pipelines.extract_regions"
LONGEST_RUN = 3600
EXISTING = 320
"""How many of the list's URIs exist: 160 at its head and 160 at its end, so that the network's batches are as full, and
as large in memory, as in the other runs."""


def copied(images: list[Path], folder: Path) -> Path:
    """A folder that holds these pictures (by hard link where it can)."""
    folder.mkdir(parents=True)
    for path in images:
        try:
            (folder / path.name).hardlink_to(path)
        except OSError:
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def listed(images: list[Path], file: Path, uris: int) -> Path:
    """A list of `uris` URIs: half of these pictures, files that do not exist, the other half."""
    half = len(images) // 2
    missing = (f"/no/such/archive/box-{number:08d}/photograph.jpg\n" for number in range(uris - len(images)))
    with file.open("w") as sink:
        sink.writelines(f"{path}\n" for path in images[:half])
        sink.writelines(missing)
        sink.writelines(f"{path}\n" for path in images[half:])
    return file


def measure(
    inputs: Path, output: Path, inputs_expected: int, rows_expected: int, extractor: Sequence[str]
) -> dict[str, Any]:
    """The peak memory and the time of one run; AssertionError unless every input is a row or an error."""
    size = ("--shard-size", "256", "--batch-size", "16", "--workers", "0")
    command = ["--images", str(inputs), "--output", str(output), *extractor, *size]
    ended = run_to_its_end(MODULE, command, output.with_suffix(".log"), LONGEST_RUN)
    assert ended.status == 0 and not ended.unexpected, (ended.status, ended.unexpected[-20:])
    table = TableReader(str(output), "regions")
    missing = {"NOT_FOUND": inputs_expected - rows_expected} if inputs_expected > rows_expected else {}
    facts = (table.manifest["inputs"], table.rows, table.manifest["errors"])
    assert facts == (inputs_expected, rows_expected, missing), facts
    found = {"inputs": inputs_expected, "rows": rows_expected, "peak_mb": round(ended.driver_peak / 1e6, 1)}
    found |= {"seconds": round(ended.seconds, 1), "inputs_per_second": round(inputs_expected / ended.seconds, 1)}
    print(output.name, found, file=sys.stderr)
    return found


def compare(
    images: Path, folder: Path, few: int = 1000, uris: int = 1_000_000, extractor: Sequence[str] = ()
) -> dict[str, Any]:
    """Measure `few` pictures, all of them, and a list of `uris`; `memory_growth` is the largest of the three by the
    smallest."""
    found = sorted(images.glob("*.jpg"))
    if len(found) < few:
        raise SystemExit(f"{images} holds {len(found)} pictures (*.jpg), {few} are needed: name another --images")
    some = min(EXISTING, len(found))
    listing = listed(found[:some], folder / "uris.txt", uris)
    runs = {
        "few": measure(copied(found[:few], folder / "few"), folder / "table-few", few, few, extractor),
        "all": measure(copied(found, folder / "all"), folder / "table-all", len(found), len(found), extractor),
        "list": measure(listing, folder / "table-list", uris, some, extractor),
    }
    peaks = [run["peak_mb"] for run in runs.values()]
    return {"memory_growth": round(max(peaks) / min(peaks), 4), **runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="a folder of more than 1,000 photographs (*.jpg)")
    parser.add_argument("--uris", type=int, default=1_000_000, help="lines of the list")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = compare(asked.images, Path(folder), uris=asked.uris)
    print(json.dumps(figures, indent=1))
    inputs = ", ".join(f"{figures[name]['inputs']:,}" for name in ("few", "all", "list"))
    split = f"{inputs} inputs, the last of them missing but for {EXISTING}; the default extractor, one thread"
    write_record(asked.json, {"extract.memory_growth": (figures["memory_growth"], "ratio of peak memory", split)})


if __name__ == "__main__":
    main()
