"""caption_images on one node and on two: the same rows, whatever the number of actors."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.conftest import LONG
from tests.jobs.clusters import ray_cluster
from vsalign.storage import TableReader

if LONG:  # a kill on two nodes (test_submit.py) shows the same in the ordinary run

    @pytest.mark.timeout(600)
    def test_any_number_of_actors_on_one_node_and_on_two_makes_the_same_rows(
        road: Any, start: Any, cluster: Any, tmp_path: Path
    ) -> None:
        photographs = tmp_path / "photographs"
        photographs.mkdir()
        for picture in sorted(Path(road.images).iterdir())[:24]:
            shutil.copy(picture, photographs)
        (photographs / "00005.jpg").write_bytes(b"<html>not found</html>")
        about = ["--images", str(photographs), "--model", road.mrnn, "--shard-size", "3", "--batch-size", "3"]
        about += ["--max-regions", "2", "--decode.max-words", "6"]

        def made(where: Any, actors: int) -> tuple[pa.Table, pa.Table]:
            output = tmp_path / f"{id(where)}-{actors}"
            job = start("caption_images", *about, "--output", str(output), "--actors", str(actors), **where.environment)
            used: set[int] = set()
            while job.process.poll() is None:
                used |= {node for node in range(1 + len(where.others)) if where.workers("MapWorker", node)}
                time.sleep(0.2)
            status, _, said = job.finish()
            assert status == 0, said
            assert actors < 4 or len(used) == 1 + len(where.others), (
                "four actors of a CPU each have no room on one node"
            )
            table = TableReader(str(output), "descriptions")
            return table.read(), table.errors().select(["uri", "reason", "message"])

        rows, errors = made(cluster, 1)
        assert (rows.num_rows, errors.num_rows) == (23, 1)
        with ray_cluster(more_nodes=1) as two:
            for where, actors in ((two, 4), (two, 1), (two, 2), (cluster, 2), (cluster, 4)):
                again = made(where, actors)
                assert again[0].equals(rows) and again[1].equals(errors), actors
