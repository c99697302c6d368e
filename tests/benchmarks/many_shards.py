"""What a table of very many shards costs its driver: planning, Ray Data, resume and manifest, with nothing in them.

python -m tests.benchmarks.many_shards --shards 10000 --json FILE
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from jobs.quarantine import Lost, Made, Maker
from jobs.shards import ShardOptions, make_shards
from tests.benchmarks.record import write_record
from vsalign import tables
from vsalign.images import IMAGE_PLAN
from vsalign.storage import Folder, Output, ShardTask, Stage
from vsalign.storage.layout import MANIFEST

ROWS = 256


@dataclass(frozen=True)
class Nothing(Maker):
    """Commits a shard of errors alone, which is the cheapest."""

    output: Output

    def load(self) -> Nothing:
        return self

    def __call__(self, task: ShardTask, lost: Lost) -> Made:
        return Made(self.output.open_shard(task).commit(0))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    row = {"kind": "image", "reason": "", "message": ""}
    listing = (
        [{**row, "image_id": f"box/{shard}-{n}.jpg", "uri": f"gs://archive/box/{shard}-{n}.jpg"} for n in range(ROWS)]
        for shard in range(asked.shards)
    )
    with tempfile.TemporaryDirectory() as place:
        output = Output(str(Path(place, "table")), "descriptions", tables.DESCRIPTIONS, "nothing", {})
        base, began = peak_mb(), time.perf_counter()
        stage = Stage(output)
        stage.plan(listing, IMAGE_PLAN, {})
        planned, plan_mb = time.perf_counter() - began, peak_mb()
        began = time.perf_counter()
        make_shards(stage, Nothing(output), ShardOptions(output=output.url, actors=2, num_cpus=2), "images")
        made = time.perf_counter() - began
        folder = Folder(output.url)
        manifest_mb = len(folder.read(MANIFEST)) / 1e6
        folder.remove(MANIFEST)
        began = time.perf_counter()
        again = Stage(output)
        assert not again.pending()
        resumed = time.perf_counter() - began
        again.finish()
    shape = f"{asked.shards:,} empty shards, a local disk"
    write_record(
        asked.json,
        {
            "scale.plan_shards_per_s": (asked.shards / planned, f"shards of {ROWS} rows/s", shape),
            "scale.plan_mb": (plan_mb - base, "MB", shape),
            "scale.shards_per_s": (asked.shards / made, "commits/s of two actors", shape),
            "scale.driver_mb": (peak_mb() - base, "MB", shape),
            "scale.resume_shards_per_s": (asked.shards / resumed, "footers/s", shape),
            "scale.manifest_bytes_a_shard": (1e6 * manifest_mb / asked.shards, "bytes", shape),
        },
    )


if __name__ == "__main__":
    main()
