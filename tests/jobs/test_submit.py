"""The jobs as a person submits them, to a cluster that asks for a token."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jobs import submit
from tests.jobs.conftest import ray_cluster
from vsalign.storage import TableReader


@pytest.mark.timeout(300)
def test_a_submitted_job_s_options_arrive_as_they_are(road: Any, start: Any, tmp_path: Path) -> None:
    # A name that a shell would take apart.
    folder = tmp_path / "of $HOME; 'echo' \"x\" & *"
    segments = str(folder / "segments")
    given = ["--regions", road.regions, "--captions", road.captions, "--model", road.alignment, "--output", segments]
    with ray_cluster(dashboard=True) as cluster:
        token = {key: value for key, value in cluster.environment.items() if key != "RAY_ADDRESS"}
        own = ["--cluster", cluster.dashboard, "--python", sys.executable, "--code"]
        job = start("submit", "align_segments", *own, *given, **token)
        status, out, said = job.finish()
        assert status == 0, out + said
        assert "align_segments finished" in out
        assert TableReader(segments, "segments").rows
        refused = start("submit", "align_segments", *own, *given, "--beta", "3", **token)
        status, out, said = refused.finish()
        assert status == 2 and "was made with another configuration" in out, "the job's own exit status"


def test_who_has_no_token_is_refused(road: Any, start: Any, tmp_path: Path) -> None:
    with ray_cluster(dashboard=True) as cluster:
        given = ["--images", road.images, "--model", road.mrnn, "--output", str(tmp_path / "table")]
        for token in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 32}):
            refused = start("submit", "caption_images", "--cluster", cluster.dashboard, *given, **token)
            status, _, said = refused.finish()
            assert status == 2 and said.count("error: no job can be submitted") == 1, said
        until = time.monotonic() + 1
        while time.monotonic() < until:
            assert not (tmp_path / "table").exists()
            time.sleep(0.2)


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
