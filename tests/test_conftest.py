"""The session's own rule: a skip needs one of three markers, and is counted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def session(folder: Path, test: str, shared: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest, with this project's conftest and markers, on one test file."""
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (folder / "tests").mkdir()
    (folder / "tests" / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    (folder / "tests" / "test_one.py").write_text(f"import pytest\n{test}\ndef test_other():\n    pass\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={**os.environ, "VSALIGN_SHARED": str(shared)},
        capture_output=True,
        text=True,
    )


READS_SHARED = "@pytest.mark.shared\ndef test_data(shared):\n    assert (shared / 'data').is_dir()\n"


def test_a_marked_test_is_skipped_with_a_reason_where_the_data_is_absent(tmp_path: Path) -> None:
    run = session(tmp_path, READS_SHARED, shared=tmp_path / "nowhere")
    assert run.returncode == 0, run.stdout
    assert "skipped: 1" in run.stdout and "no data folder" in run.stdout and "nowhere" in run.stdout


def test_a_marked_test_runs_where_the_data_is(tmp_path: Path) -> None:
    (tmp_path / "here" / "data").mkdir(parents=True)
    run = session(tmp_path, READS_SHARED, shared=tmp_path / "here")
    assert run.returncode == 0, run.stdout
    assert "skipped: 0" in run.stdout and "2 passed" in run.stdout


@pytest.mark.parametrize(
    "test",
    [
        "def test_quiet():\n    pytest.skip('no time')\n",
        "@pytest.mark.skip(reason='no time')\ndef test_data(shared):\n    assert (shared / 'data').is_dir()\n",
        "pytest.skip('no time', allow_module_level=True)\n",
        "pytest.importorskip('no_such_package')\n",
    ],
    ids=["in the test", "by a mark", "a module", "a missing package"],
)
def test_an_unmarked_skip_fails_the_session(tmp_path: Path, test: str) -> None:
    run = session(tmp_path, test, shared=tmp_path)
    assert run.returncode == 1, run.stdout
    assert "skipped: 1" in run.stdout and "was skipped without the marker" in run.stdout


def test_so_does_one_in_a_worker_of_several(tmp_path: Path) -> None:
    tests = f"{READS_SHARED}\ndef test_quiet():\n    pytest.skip('no time')\n"
    run = session(tmp_path, tests, tmp_path, "-n", "2")
    assert run.returncode == 1, run.stdout
    assert "skipped: 2" in run.stdout and run.stdout.count("was skipped without the marker") == 1


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    run = session(tmp_path, "@pytest.mark.xfail\ndef test_known():\n    assert False\n", shared=tmp_path)
    assert run.returncode == 0, run.stdout
    assert "skipped: 0" in run.stdout


def test_an_unknown_marker_is_refused(tmp_path: Path) -> None:
    run = session(tmp_path, "@pytest.mark.shraed\ndef test_typo():\n    pass\n", shared=tmp_path)
    assert run.returncode != 0 and "shraed" in run.stdout + run.stderr
