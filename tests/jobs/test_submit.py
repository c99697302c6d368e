"""The jobs as a person submits them: to a cluster of two nodes that asks for a token, of which one dies on the way."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs import submit
from tests.jobs.conftest import LONG, Cluster, Job, family_of, ray_cluster
from vsalign.checkpoint import load_model, read_config
from vsalign.storage import TableReader

RUNS = 3 if LONG else 1


def kill_node(cluster: Cluster, number: int) -> None:
    """As a machine that is taken away: the node's processes, all at once."""
    node = cluster.others[number]
    for pid in [node.pid, *family_of(node.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.wait(10)


def submitted(start: Any, cluster: Cluster, name: str, *options: str) -> Job:
    """A job on the cluster, from a process that knows no more of it than its dashboard and the token."""
    token = {key: value for key, value in cluster.environment.items() if key != "RAY_ADDRESS"}
    given = ["--cluster", cluster.dashboard, "--python", sys.executable, "--code", *options]
    return start("submit", name, *given, **token)  # type: ignore[no-any-return]


@pytest.mark.timeout(2000 if LONG else 500)
def test_submitted_jobs_end_right_though_a_node_dies(road: Any, start: Any, tmp_path: Path) -> None:
    tables = ["--regions", road.regions, "--captions", road.captions]
    for number in range(RUNS):
        with ray_cluster(more_nodes=2, dashboard=True) as cluster:
            # A name that a shell would take apart: it arrives as it is.
            folder = tmp_path / f"{number} of $HOME; 'echo' \"x\" & *"
            alignment = str(folder / "alignment")
            small = ["--model.h", "16", "--model.hidden", "16", "--min-count", "3", "--batch-size", "8"]
            training = submitted(
                start, cluster, "train_alignment", *tables, "--output", alignment, "--recipe", "paper", "--epochs", "6",
                "--num-workers", "4", *small,
            )  # fmt: skip
            training.wait_for_line("epoch 2 of 6")
            kill_node(cluster, 0)
            assert training.finish()[0] == 0, "".join(training.said)
            assert len(read_config(alignment)["training"]["history"]) == 6
            load_model(alignment, "alignment")

            segments = str(folder / "segments")
            align = submitted(start, cluster, "align_segments", *tables, "--model", alignment, "--output", segments)
            assert align.finish()[0] == 0, "".join(align.said)

            describer = str(folder / "describer")
            small = ["--recipe", "mrnn", "--model.hidden", "16", "--model.word-dim", "8", "--min-count", "3"]
            given = ["--segments", segments, "--output", describer, "--epochs", "2", "--batch-size", "8", *small]
            assert (mrnn := submitted(start, cluster, "train_mrnn", *tables, *given)).finish()[0] == 0, mrnn.said

            described = str(folder / "descriptions")
            about = ["--images", road.images, "--model", describer, "--output", described, "--shard-size", "2"]
            caption = submitted(start, cluster, "caption_images", *about, "--actors", "4", "--max-regions", "2")
            caption.wait_for(some_shards(Path(described), 3))
            kill_node(cluster, 1)
            assert caption.finish()[0] == 0, "".join(caption.said)
            table = TableReader(described, "descriptions")
            ids = table.read(["image_id"])["image_id"].to_pylist()
            assert sorted(ids) == sorted(path.name for path in Path(road.images).iterdir()), "each once"


def some_shards(table: Path, count: int) -> Callable[[], bool]:
    """Whether so many are committed."""
    return lambda: len(list(table.glob("part-*.parquet"))) >= count


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
