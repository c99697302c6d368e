"""Two runs at once in one folder end in one table."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vsalign.storage import Folder, Stage, TableReader


def finished(captions) -> None:
    """The table is complete, read whole, and names files that are there."""
    reader = TableReader(captions.url, "captions")
    names = Folder(captions.url).names()
    for part in reader.shards:
        assert part["file"] in names
        assert not part["errors_file"] or part["errors_file"] in names
    assert reader.read().num_rows == reader.rows


def test_two_processes_in_one_folder_make_one_table(captions, tmp_path) -> None:
    """Both plan, write and finish at the same time."""
    code = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from killed_runs import load_captions
        shards = [[f"{{shard}}-{{n}}" for n in range(3)] + ["!EMPTY"] for shard in range(40)]
        print(load_captions()({captions.url!r}, shards=shards).run().rows)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for run in runs:
        out, err = run.communicate(timeout=60)
        assert (run.returncode, out.strip()) == (0, "120"), err
    finished(captions)
    ids = TableReader(captions.url, "captions").read()["image_id"].to_pylist()
    assert ids == [f"photos/{shard}-{n}.jpg" for shard in range(40) for n in range(3)]
    assert TableReader(captions.url, "captions").errors().num_rows == 40
    assert len([name for name in Folder(captions.url).names() if name.startswith("errors/")]) == 40


@pytest.mark.parametrize("moment", ["_write_manifest", "_sweep", "_stands"])
def test_a_run_that_replaces_shards_while_another_finishes_breaks_nothing(captions, monkeypatch, moment) -> None:
    """The other run makes a newer generation and sweeps the older one under the first one's hands."""
    shaky = captions.other(shards=[["ant", "!READ_FAILED"], ["bee"]])
    first = shaky.stage()
    for task in first.pending():
        shaky.commit(task)
    real, begun = getattr(Stage, moment), []

    def other_run_comes_between(stage: Stage, *arguments: object) -> object:
        if not begun:
            begun.append(stage)
            shaky.run(healed=True)
        return real(stage, *arguments)

    monkeypatch.setattr(Stage, moment, other_run_comes_between)
    first.finish()
    finished(shaky)
    assert TableReader(shaky.url, "captions").shards[0]["file"] == "part-00000.g1.parquet"
    assert TableReader(shaky.url, "captions").rows == 3
