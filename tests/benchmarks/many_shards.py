"""What a table of very many shards costs: its driver's memory and time, and requests of an object store.

python -m tests.benchmarks.many_shards --shards 10000 --names 10000000 --json FILE

Shards with nothing in them, so that planning, Ray Data, resume and manifest are measured; calls of the store by a
filesystem in memory that counts them; and the planning of a list of so many names, in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

from jobs.quarantine import Lost, Made, Maker
from jobs.shards import ShardOptions, ShardWork, make_shards
from tests.benchmarks.record import Measured, write_record
from vsalign import tables
from vsalign.errors import Reason
from vsalign.images import IMAGE_PLAN, ImageInput, list_images
from vsalign.storage import Folder, Output, ShardTask, Stage
from vsalign.storage.layout import MANIFEST

ROWS = 256


@dataclass(frozen=True)
class Nothing(ShardWork, Maker):
    """Commits a shard of no rows, which is the cheapest."""

    output: Output

    def load(self) -> Nothing:
        return self

    def __call__(self, task: ShardTask, lost: Lost) -> Made:
        return Made(self.output.open_shard(task).commit(0))


class Counted(MemoryFileSystem):
    """Counts what would be requests: of metadata, to read (an open file's beginning, or its end), to write."""

    protocol = "counted"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    calls: Counter[str] = Counter()

    def info(self, path: str, **options: Any) -> Any:
        self.calls["metadata"] += 1
        return super().info(path, **options)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self.calls["reads"] += 1
        return super()._open(path, mode, **options)

    def pipe_file(self, path: str, value: bytes, **options: Any) -> Any:
        """One request, in which a store looks by itself whether there is such a file."""
        before = Counter(self.calls)
        super().pipe_file(path, value, **options)
        self.calls.clear()
        self.calls.update(before + Counter(writes=1))


def calls_a_shard() -> dict[str, dict[str, float]]:
    """Calls for each shard that has an error, of making it, and of the driver's check of what is committed."""
    fsspec.register_implementation("counted", Counted, clobber=True)
    found: dict[int, dict[str, Counter[str]]] = {}
    for shards in (64, 128):
        output = Output(f"counted://{shards}", "descriptions", tables.DESCRIPTIONS, "nothing", {})
        stage = Stage(output)
        stage.plan(listing(shards), IMAGE_PLAN, {})
        tasks = stage.tasks()
        Counted.calls.clear()
        for task in tasks:
            output.read_plan(task)
            writer = output.open_shard(task)
            writer.add_error(tables.error_row("a", "nothing", Reason.EMPTY, "a: empty"))
            writer.commit(1)
        made = Counter(Counted.calls)
        Counted.calls.clear()
        assert not stage.pending()
        found[shards] = {"made": made, "checked": Counter(Counted.calls)}
    return {
        name: {call: (counts[call] - found[64][name][call]) / 64 for call in sorted(counts)}
        for name, counts in found[128].items()
    }


def listing(shards: int) -> Any:
    row = {"kind": "image", "reason": "", "message": ""}
    return (
        [{**row, "image_id": f"box/{shard}-{n}.jpg", "uri": f"gs://archive/box/{shard}-{n}.jpg"} for n in range(ROWS)]
        for shard in range(shards)
    )


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def plan_names(count: int) -> None:
    """Plan a list of so many names, and print by how many MB the peak grew, and the seconds."""
    with tempfile.TemporaryDirectory() as place:
        names = Path(place, "names.txt")
        with names.open("w") as file:
            file.writelines(f"gs://bucket/archive/box-{n // 1000:06d}/photograph-{n:09d}.jpg\n" for n in range(count))
        base, began = peak_mb(), time.perf_counter()
        listed, counts = list_images(ImageInput(str(names))), dict[str, int]()
        stage = Stage(Output(f"{place}/table", "descriptions", tables.DESCRIPTIONS, "nothing", listed.facts()))
        stage.plan(listed.counted(counts), IMAGE_PLAN, counts)
        assert len(stage.tasks()) == -(-count // ROWS)
        print(peak_mb() - base, time.perf_counter() - began)


def made_by_ray(shards: int) -> dict[str, Measured]:
    """Planning, making, and checking again."""
    with tempfile.TemporaryDirectory() as place:
        output = Output(str(Path(place, "table")), "descriptions", tables.DESCRIPTIONS, "nothing", {})
        base, stage = peak_mb(), Stage(output)
        stage.plan(listing(shards), IMAGE_PLAN, {})
        began = time.perf_counter()
        make_shards(stage, Nothing(output), ShardOptions(output=output.url, actors=2, num_cpus=2), "images")
        made = time.perf_counter() - began
        folder = Folder(output.url)
        manifest = len(folder.read(MANIFEST))
        folder.remove(MANIFEST)
        began = time.perf_counter()
        again = Stage(output)
        assert not again.pending()
        resumed = time.perf_counter() - began
        again.finish()
    shape = f"{shards:,} empty shards, a local disk"
    return {
        "scale.shards_per_s": (shards / made, "commits/s of two actors", shape),
        "scale.driver_kb_a_shard": (1000 * (peak_mb() - base) / shards, "kB", shape),
        "scale.resume_shards_per_s": (shards / resumed, "footers/s", shape),
        "scale.manifest_bytes_a_shard": (manifest / shards, "bytes", shape),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--names", type=int, default=10_000_000)
    parser.add_argument("--plan", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    if asked.plan:
        plan_names(asked.plan)
        return
    module = [sys.executable, "-m", "tests.benchmarks.many_shards", "--plan", str(asked.names)]
    megabytes, seconds = map(float, subprocess.check_output(module, text=True).split()[-2:])
    names = f"{asked.names:,} names of a list, {ROWS} a shard"
    figures: dict[str, Measured] = {
        "scale.plan_mb": (megabytes, "MB of memory", names),
        "scale.plan_names_per_s": (asked.names / seconds, "names/s", names),
    }
    for name, calls in calls_a_shard().items():
        for call, count in calls.items():
            figures[f"scale.{name}_{call}"] = (count, "calls of the store a shard", "a shard with an error")
    write_record(asked.json, figures | made_by_ray(asked.shards))


if __name__ == "__main__":
    main()
