"""Killed at a random moment and started again: the table is the undisturbed one, and no process stays behind."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import kills
from tests.conftest import LONG

MODULE = "pipelines.extract_regions"
SEEDS = range(5 if LONG else 1)

pytestmark = pytest.mark.timeout(400)


def at_a_random_moment(stages: Any, output: Path, process: Any, seed: int) -> None:
    """Wait for up to a quarter of the shards, and a few milliseconds more."""
    chance = random.Random(seed)
    stages.wait_for_parts(output, chance.randrange(1, 6), process)
    time.sleep(chance.uniform(0, 0.03))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_killed_driver_resumes_to_the_same_table(
    seed: int, workers: str, stages: Any, pictures: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "table"
    command = stages.small(pictures, output, "--workers", workers)
    process = stages.start(MODULE, *command)
    at_a_random_moment(stages, output, process, seed)
    process.kill()
    process.communicate()
    assert stages.all_gone(process.pid), "workers outlived their driver"
    assert not (output / "_manifest.json").exists()
    before = {path.name: path.stat().st_mtime_ns for path in output.glob("part-*.parquet")}
    assert 0 < len(before) <= 22  # workers go on for up to half a second, until they miss their driver

    ended = stages.run(MODULE, *command)
    assert ended.returncode == 0, ended.stderr
    assert stages.same_table(output, undisturbed)
    after = {path.name: path.stat().st_mtime_ns for path in output.glob("part-*.parquet")}
    assert before.items() <= after.items(), "a committed shard was made again"
    assert "done before" in ended.stdout


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_worker_ends_the_run_and_the_same_command_goes_on(
    seed: int, stages: Any, pictures: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "table"
    command = stages.small(pictures, output, "--workers", "2")
    process = stages.start(MODULE, *command)
    at_a_random_moment(stages, output, process, seed)
    os.kill(random.Random(seed).choice(stages.workers_of(process.pid)), signal.SIGKILL)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 4, said
    assert said.strip().splitlines()[-1].startswith("error: a worker process died")
    assert "Traceback" not in said
    assert stages.all_gone(process.pid), "the other worker stayed"
    assert stages.run(MODULE, *command).returncode == 0
    assert stages.same_table(output, undisturbed)


def test_a_worker_that_stands_still_ends_the_run(stages: Any, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "table"
    process = stages.start(MODULE, *stages.small(pictures, output, "--workers", "1", "--stall-timeout", "8"))
    stages.wait_for_parts(output, 1, process)
    (worker,) = stages.workers_of(process.pid)
    os.kill(worker, signal.SIGSTOP)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 4, said
    assert "--stall-timeout" in said.strip().splitlines()[-1]
    assert stages.all_gone(process.pid)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_no_process_and_no_half_file(
    number: signal.Signals, status: int, stages: Any, pictures: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "table"
    command = stages.small(pictures, output, "--workers", "1")
    process = stages.start(MODULE, *command)
    stages.wait_for_parts(output, 2, process)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == status, said
    assert said.strip().splitlines()[-1].startswith("stopped by") and "Traceback" not in said
    assert stages.all_gone(process.pid)
    assert stages.run(MODULE, *command).returncode == 0
    assert stages.same_table(output, undisturbed)


@pytest.fixture(scope="module")
def captions(stages: Any, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """The options of a preparation of many captions, some of them without a picture, and its undisturbed table."""
    folder = tmp_path_factory.mktemp("captions")
    names = [path.relative_to(pictures).as_posix() for path in sorted(pictures.rglob("0*.jpg"))]
    lines = [f"{names[n % len(names)]}#{n}\tcaption number {n} of a picture\n" for n in range(160_000)]
    lines[7::1000] = [f"gone.jpg#{n}\ta picture that is not there\n" for n in range(len(lines[7::1000]))]
    (folder / "captions.txt").write_text("".join(lines))
    options = ["--captions", str(folder / "captions.txt"), "--images", str(pictures), "--default-split", "train"]
    assert stages.run("pipelines.prepare_captions", *options, "--output", str(folder / "whole")).returncode == 0
    return options, folder / "whole"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_killed_caption_preparation_resumes_to_the_same_table(
    seed: int, workers: str, stages: Any, captions: tuple[list[str], Path], tmp_path: Path
) -> None:
    (common, whole), killed = captions, tmp_path / "killed"
    command = [*common, "--output", str(killed), "--workers", workers]
    process = stages.start("pipelines.prepare_captions", *command)
    at_a_random_moment(stages, killed, process, seed)
    process.kill()
    process.communicate()
    assert stages.all_gone(process.pid), "workers outlived their driver"
    assert not (killed / "_manifest.json").exists()
    assert 0 < len(stages.parts(killed)) <= 16

    assert stages.run("pipelines.prepare_captions", *command).returncode == 0
    assert stages.same_table(killed, whole, "captions")


@pytest.mark.timeout(7200 if LONG else 400)
def test_runs_killed_again_and_again_and_two_at_once_make_the_same_table(stages: Any, tmp_path: Path) -> None:
    runs, pairs, pictures = (30, 5, 400) if LONG else (1, 1, 60)
    images = tmp_path / "images"
    images.mkdir()
    for number in range(pictures):
        (images / f"{number:03d}.jpg").write_bytes(stages.picture(number))
    spoiled = kills.spoiled_copy(images, tmp_path / "spoiled", pictures)
    found = kills.campaign(spoiled, tmp_path, runs, pairs, shard_size=pictures // 20)
    assert (found["images"], found["shards"]) == (pictures, 20)
    assert found["kills"] >= runs and (not LONG or min(found["driver_kills"], found["worker_kills"]) > runs / 2)
    assert (found["tables_equal"], found["concurrent_pairs_equal"]) == (runs, pairs), found
    assert {found[name] for name in ("rows_lost", "rows_double", "counts_differ", "files_left_behind")} == {0}
