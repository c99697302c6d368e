"""Inputs that end, fail or hang their actor: one error each, and no other row is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.quarantine import CAREFUL, TRIES, Tries
from tests.conftest import LONG
from vsalign.storage import TableReader


def run(cluster: Any, table: Path, *shards: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name("deadly_shards.py")), str(table), *shards],
        env={**os.environ, **cluster.environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )


CRASHES = (
    [["a,kill1,b", "c"], ["a,kill1,b,kill2", "c", "raise1,d,hang,raise2,e,raise3"]] if LONG else [["a,kill1,b", "c"]]
)


@pytest.mark.timeout(280)
@pytest.mark.parametrize("shards", CRASHES)
def test_inputs_that_end_fail_or_hang_their_actor_are_errors_of_their_own(
    cluster: Any, tmp_path: Path, shards: list[str]
) -> None:
    done = run(cluster, tmp_path / "table", *shards)

    assert done.returncode == 0, done.stderr
    table = TableReader(str(tmp_path / "table"), "captions")
    inputs = [text for shard in shards for text in shard.split(",")]
    assert table.read()["text"].to_pylist() == [text for text in inputs if len(text) == 1]
    errors = table.errors().to_pylist()
    assert {row["reason"] for row in errors} == {"CRASHED"}
    died = "the worker died, or stood still, while this was described"
    failed = "it could not be described (RuntimeError: the network says no)"
    assert [row["message"] for row in errors] == [
        f"{text}: {failed if text.startswith('raise') else died}" for text in inputs if len(text) > 1
    ]


if LONG:

    @pytest.mark.timeout(200)
    def test_a_shard_that_ends_its_actor_each_time_ends_the_run_and_no_other_shard(cluster, tmp_path: Path) -> None:
        done = run(cluster, tmp_path / "table", "a", "b", "c,always", "d")

        assert done.returncode == 4, done.stderr
        assert f"shard 2 ended its actor {TRIES} times (killed for memory?)" in done.stderr
        assert "the same command goes on from what is committed" in done.stderr
        assert {path.name for path in (tmp_path / "table").glob("part-*")} >= {"part-00000.g0.parquet"}
        assert not (tmp_path / "table/_manifest.json").exists()


def test_a_try_that_ended_in_a_trial_is_not_counted() -> None:
    tries = Tries()
    assert [tries.begin(7).begun for _ in range(CAREFUL)] == [1, 2, CAREFUL]
    tries.trying(7, "good")
    tries.good(7)
    tries.trying(7, "bad")
    known = tries.begin(7)
    assert (known.begun, known.passed, list(known.lost)) == (CAREFUL, 2, ["bad"])
    for _ in range(5):  # as many as there are
        tries.trying(7, "fails")
        tries.lose(7, "fails: it could not be described")
        assert tries.begin(7).begun == CAREFUL
    assert tries.begin(7).begun == CAREFUL + 1
    assert tries.begin(8).begun == 1 and tries.lost(8) == {}
