"""The jobs as a person submits them, to a cluster that asks for a token."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import submit
from tests.conftest import LONG
from tests.jobs.clusters import Cluster, ray_cluster
from tests.jobs.directly import describe_here, same, train_here
from tests.jobs.killed_nodes import OTHERS_CPUS, STAGES, TRAININGS, differences, killed, submitted
from vsalign.checkpoint import load_model
from vsalign.storage import TableReader


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    """Two nodes, to which jobs may be submitted."""
    with ray_cluster(more_nodes=1, dashboard=True, more_cpus=OTHERS_CPUS) as started:
        yield started


@pytest.mark.timeout(300)
def test_a_submitted_job_s_options_arrive_as_they_are(road: Any, start: Any, two: Cluster, tmp_path: Path) -> None:
    # A name that a shell would take apart.
    folder = tmp_path / "of $HOME; 'echo' \"x\" & *"
    segments = str(folder / "segments")
    given = ["--regions", road.regions, "--captions", road.captions, "--model", road.alignment, "--output", segments]
    token = {key: value for key, value in two.environment.items() if key != "RAY_ADDRESS"}
    own = ["--cluster", two.dashboard, "--python", sys.executable, "--code"]
    job = start("submit", "align_segments", *own, *given, **token)
    status, out, said = job.finish()
    assert status == 0, out + said
    assert "align_segments finished" in out
    assert TableReader(segments, "segments").rows
    refused = start("submit", "align_segments", *own, *given, "--beta", "3", **token)
    status, out, said = refused.finish()
    assert status == 2 and "was made with another configuration" in out, "the job's own exit status"


@pytest.mark.timeout(200)
def test_who_has_no_token_is_refused(road: Any, start: Any, two: Cluster, tmp_path: Path) -> None:
    given = ["--images", road.images, "--model", road.mrnn, "--output", str(tmp_path / "table")]
    tokens = ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 32})
    for refused in [start("submit", "caption_images", "--cluster", two.dashboard, *given, **each) for each in tokens]:
        status, _, said = refused.finish()
        assert status == 2 and said.count("error: no job can be submitted") == 1, said
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert not (tmp_path / "table").exists()
        time.sleep(0.2)


@pytest.mark.timeout(1800 if LONG else 600)
def test_a_node_that_dies_under_submitted_jobs_changes_nothing(
    road: Any, start: Any, two: Cluster, tmp_path: Path, one_thread: None
) -> None:
    for number, stage in enumerate(STAGES * 3 if LONG else ("train_mrnn", "caption_images")):
        output = tmp_path / f"{number}-{stage}"
        killed(stage, road, output, start, two, seed=number)
        if LONG:
            undisturbed = tmp_path / f"undisturbed-{stage}"
            if not undisturbed.exists():
                status, out, said = submitted(stage, road, undisturbed, start, two).finish()
                assert status == 0, out + said
            assert differences(stage, output, undisturbed) == []
        elif stage in TRAININGS:
            same(load_model(str(output), "describer"), train_here(stage, road, tmp_path / "here"))
        else:
            found = TableReader(str(output), "descriptions").read().to_pylist()
            wanted = describe_here(road, tmp_path / "described", shards=16)
            assert [{**row, "content_hash": None} for row in found] == wanted


WRONG = [
    (["caption_imges"], "there is no job 'caption_imges': name one of"),
    (["--cluster", "http://127.0.0.1:1"], "needs a job's name first"),
    (["caption_images", "--output", "x", "--imges", "y"], "did you mean --images"),
    (["caption_images", "--images", "x"], "caption_images needs --output"),
    (["caption_images", "--images", "x", "--output", "y", "--address", "auto"], "leave it out"),
    (["caption_images", "--images", "x", "--output", "y", "--cluster", "http://127.0.0.1:1"], "correct --cluster"),
]


@pytest.mark.parametrize(("wrong", "named"), WRONG, ids=[named for _, named in WRONG])
def test_a_mistake_is_one_sentence(wrong: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit.main(wrong) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and named in said


def test_help_names_the_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert submit.main(["--help"]) == 0
    assert "caption_images" in capsys.readouterr().out
    assert submit.main(["train_mrnn", "--help"]) == 0
    assert "--segments" in capsys.readouterr().out
