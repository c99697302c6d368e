"""Killed at any moment and started again, a stage's table is an undisturbed run's."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from vsalign.errors import VsalignError
from vsalign.storage import Folder, TableReader

KILLED_RUNS = Path(__file__).with_name("killed_runs.py")


def test_a_run_killed_before_any_file_operation_resumes_without_gap_or_duplicate(captions, tmp_path) -> None:
    captions.run()
    whole = TableReader(captions.url, "captions").read()
    done = subprocess.run(
        [sys.executable, str(KILLED_RUNS), str(tmp_path / "killed")], capture_output=True, text=True, check=True
    )
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert [run["signal"] for run in runs] == [signal.SIGKILL] * (len(runs) - 1) + [0]
    assert len(runs) > 20  # every write is several operations
    unfinished = 0
    for run in runs:
        table = captions.other(url=run["url"])
        try:
            assert TableReader(table.url, "captions").read().equals(whole)
        except VsalignError:
            unfinished += 1
        summary = table.run()
        reader = TableReader(table.url, "captions")
        assert reader.read().equals(whole), run
        assert reader.errors().num_rows == 1
        assert (summary.inputs, summary.rows) == (6, 5)
        assert len(Folder(table.url).names()) == 8, run  # nothing half, nothing left behind
        assert {part["file"].split(".")[1] for part in reader.shards} == {"g0"}  # nothing made twice
    assert unfinished > 20
