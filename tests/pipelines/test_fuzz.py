"""The whole stage over damaged pictures and archives: tests/benchmarks/fuzz.py, in full with VSALIGN_LONG=1."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import fuzz
from tests.conftest import LONG


@pytest.mark.timeout(3600 if LONG else 120)
def test_every_mutant_is_a_row_or_an_error_and_nothing_crashes_hangs_or_warns(tmp_path: Path) -> None:
    mutants = 10_000 if LONG else 300
    found = fuzz.fuzz(tmp_path, mutants, seed=0, workers=(0, 2) if LONG else (0,))
    assert found["mutants"] >= mutants and found["archives"] > mutants / 30
    assert found["rows"] > mutants / 4 and sum(found["errors"].values()) > mutants / 4
    assert {"TRUNCATED", "CORRUPT", "NOT_IMAGE", "TOO_LARGE", "EMPTY"} <= found["errors"].keys()
    assert found["archive_errors"]["INCOMPLETE"] > 0


def test_an_input_that_is_not_in_the_table_is_found_out(tmp_path: Path) -> None:
    """The check itself, with a corpus that names another picture than the table holds."""
    corpus = fuzz.write_corpus(tmp_path / "mutants", 30, seed=1)
    fuzz.extracted(corpus, tmp_path / "table", workers=0)
    fuzz.account_for(corpus, tmp_path / "table")
    uri, sound = corpus.sound.popitem()
    corpus.sound[f"{uri}.other"] = sound
    with pytest.raises(AssertionError, match="other"):
        fuzz.account_for(corpus, tmp_path / "table")
