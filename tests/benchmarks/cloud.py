"""What the cloud does to a road, tried here: stores that fail five of a hundred requests, and nodes that die.

python -m tests.benchmarks.cloud --json FILE

The whole road on emulated GCS and S3, every table in the bucket, beside the local one; and each job submitted to two
nodes, of which one is killed while it works, beside an undisturbed run.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.benchmarks.record import Measured, write_record
from tests.jobs.clusters import ray_cluster
from tests.jobs.conftest import make_road, starting
from tests.jobs.killed_nodes import OTHERS_CPUS, STAGES, differences, killed, submitted
from tests.jobs.stores import EMULATED, HUNDRED
from tests.jobs.whole_road import roads_beside_local

NAMES = {"gs": "gcs", "s3": "s3"}


def roads(folder: Path, pictures: int, seed: int) -> dict[str, Measured]:
    """Whether the tables and models on each store are the local ones."""
    figures: dict[str, Measured] = {}
    for road in roads_beside_local(folder, [*EMULATED], pictures, seed):
        spoiled = {fate: road.requests[fate] for fate in HUNDRED}
        shape = f"{pictures} scenes, {road.requests.total()} requests, of which {spoiled}"
        figures[f"cloud.{NAMES[road.protocol]}_road_equal"] = (float(not road.differences), "1: equal", shape)
        print(f"{road.protocol}: {shape}: {road.differences or 'the local tables and weights'}", flush=True)
    return figures


def kills(folder: Path, runs: int, seed: int) -> dict[str, Measured]:
    """How many runs of each job end right although its node dies."""
    right = 0
    road = make_road(folder / "road")
    with starting() as start, ray_cluster(more_nodes=1, dashboard=True, more_cpus=OTHERS_CPUS) as two:
        for stage in STAGES:
            undisturbed = folder / stage
            status, out, said = submitted(stage, road, undisturbed, start, two).finish()
            assert status == 0, out + said
            for number in range(runs):
                output = folder / f"{stage}-{number}"
                try:
                    killed(stage, road, output, start, two, seed + number)
                    found = differences(stage, output, undisturbed)
                except AssertionError as error:
                    found = [str(error)]
                    if two.others[0].poll() is not None:
                        two.replace(0)
                right += not found
                print(f"{stage} {number}: {found or 'as undisturbed'}", flush=True)
    return {"cloud.node_killed_runs": (right, f"of {runs * len(STAGES)} runs", f"{runs} runs of each of {STAGES}")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--runs", type=int, default=3, help="of each job")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        figures = roads(Path(place) / "stores", asked.pictures, asked.seed)
        figures |= kills(Path(place) / "kills", asked.runs, asked.seed)
    write_record(asked.json, figures)


if __name__ == "__main__":
    main()
