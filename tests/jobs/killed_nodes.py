"""Jobs submitted to a cluster of two nodes, of which the one that they work on is killed half-way."""

from __future__ import annotations

import math
import random
import sys
import time
from pathlib import Path
from typing import Any

from tests.jobs.clusters import Cluster
from tests.jobs.conftest import Job, Road
from tests.jobs.directly import EPOCHS, SCHEDULE, SIZES, described_as
from vsalign.checkpoint import read_config
from vsalign.storage import TableReader

TRAININGS = ("train_alignment", "train_mrnn")
TABLES = {"align_segments": "segments", "caption_images": "descriptions"}
STAGES = (*TRAININGS, *TABLES)
OTHERS_CPUS = 4
"""Of the node that is killed: Ray puts workers where most CPUs are free; the head's two suffice for what is left."""
LONGEST = 240.0
"""Seconds until a job is half-way."""


def submitted(stage: str, road: Road, output: Path, start: Any, cluster: Cluster) -> Job:
    """The job, as a person submits it."""
    token = {key: value for key, value in cluster.environment.items() if key != "RAY_ADDRESS"}
    words = ["--cluster", cluster.dashboard, "--python", sys.executable, *options_of(stage, road)]
    job: Job = start("submit", stage, *words, "--output", str(output), **token)
    return job


def options_of(stage: str, road: Road) -> list[str]:
    """All but where it goes."""
    tables = ["--regions", road.regions, "--captions", road.captions]
    if stage in TRAININGS:
        paper = ["--recipe", "paper", "--model.h", "16"]
        recipe = paper if stage == "train_alignment" else ["--recipe", "mrnn"]
        return [*tables, *SCHEDULE, *SIZES, *recipe, "--cpus-per-worker", "1", "--checkpoint-steps", "6"]
    if stage == "align_segments":
        return [*tables, "--model", road.alignment, "--actors", "4"]
    return ["--images", road.images, *described_as(road), "--actors", str(OTHERS_CPUS + 1)]


def killed(stage: str, road: Road, output: Path, start: Any, cluster: Cluster, seed: int = 0) -> None:
    """Run the job, killing the node that is not the head when it is half-way; another node comes after its end.

    Raises AssertionError unless the job ends with 0.
    """
    job = submitted(stage, road, output, start, cluster)
    kind = "RayTrainWorker" if stage in TRAININGS else "MapWorker"
    made, count = ("_training/checkpoint_*", 2) if stage in TRAININGS else ("part-*", 1 if "align" in stage else 3)
    job.wait_for(lambda: len(list(output.glob(made))) >= count, LONGEST)
    time.sleep(random.Random(seed).random() / 4)
    assert cluster.workers(kind, 1), "it works on the other node too"
    assert not any((output / name).exists() for name in ("config.json", "_manifest.json")), "it is not at its end"
    cluster.kill(0)
    status, out, said = job.finish()
    assert status == 0, f"{out}\n{said}"
    cluster.replace(0)


def differences(stage: str, output: Path, undisturbed: Path) -> list[str]:
    """In what a model or a table differs from that of an undisturbed run."""
    if stage in TRAININGS:
        return _of_models(output, undisturbed)
    ours, theirs = (TableReader(str(url), TABLES[stage]) for url in (output, undisturbed))
    errors = [table.errors().select(["uri", "reason", "message"]) for table in (ours, theirs)]
    names = {path.name for path in output.rglob("*.parquet") if path.parent.name != "_plan"}
    named = {Path(name).name for part in ours.shards for name in (part["file"], part["errors_file"]) if name}
    found = {
        "rows": not ours.read().equals(theirs.read()),
        "errors": not errors[0].equals(errors[1]),
        "files left behind": names != named,
    }
    return [name for name, wrong in found.items() if wrong]


def _of_models(output: Path, undisturbed: Path) -> list[str]:
    ours, theirs = (read_config(str(url))["training"] for url in (output, undisturbed))
    weights = [(url / "model.safetensors").read_bytes() for url in (output, undisturbed)]
    epochs = [[each["epoch"] for each in run["history"]] for run in (ours, theirs)]
    losses = [[each["loss"] for each in run["history"]] for run in (ours, theirs)]
    found = {
        "weights": weights[0] != weights[1],
        "epochs": epochs != [[*range(EPOCHS)]] * 2,
        "losses": not all(map(math.isclose, *losses)),
        "files left behind": (output / "_training").exists(),
    }
    return [name for name, wrong in found.items() if wrong]
