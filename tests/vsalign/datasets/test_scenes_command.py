"""`vsalign scenes` writes a folder, says what is in it, and refuses in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsalign import cli
from vsalign.datasets.scenes import read_objects


def test_it_writes_scenes_and_a_second_call_finds_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["scenes", "--output", str(tmp_path / "scenes"), "--count", "6"]
    argv += ["--splits.train", "0.5", "--splits.tune", "0", "--splits.dev", "0.5"]
    assert cli.main(argv) == 0
    said = capsys.readouterr().out
    assert said.startswith("scenes finished\n") and str(tmp_path / "scenes") in said
    assert "captions  30" in said and "train" in said and "tune" not in said
    assert len(read_objects(str(tmp_path / "scenes"))) == 6
    assert cli.main(argv) == 0
    assert "all of them were there" in capsys.readouterr().out


def test_a_mistake_is_one_sentence_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--count", "0"], ["--splits.train", "0.1"], ["--cuont", "3"]):
        assert cli.main(["scenes", "--output", str(tmp_path / "scenes"), *wrong]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1
    assert not (tmp_path / "scenes").exists()
