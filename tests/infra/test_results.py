"""The record of figures: merged by key, and the page that is made from it."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from infra import results
from infra.results import Figure, figure


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(results, "ROOT", tmp_path)
    for name, file in (("RECORD", "results.json"), ("PAGE", "results.md"), ("NOTES", "notes.md")):
        monkeypatch.setattr(results, name, tmp_path / file)
    return tmp_path


def entry(value: float, spread: float | None = None) -> dict[str, Any]:
    return asdict(Figure(value, "per cent", "dev", 1, spread, "2 cores", "make x", "abc"))


def test_merged_figures_replace_those_of_the_same_key_and_the_notes_quote_them(docs: Path) -> None:
    (docs / "notes.md").write_text("\nR@1 is {a.r1}, R@5 {a.r5}, {Braces} stay.\n")
    for merged in ({"a.r1": entry(1.0), "b": entry(2.0)}, {"a.r1": entry(17.26, 0.5)}):
        (docs / "new.json").write_text(json.dumps(merged))
        assert results.main(["--merge", str(docs / "new.json")]) == 0
    assert json.loads((docs / "results.json").read_text()) == {"a.r1": entry(17.26, 0.5), "b": entry(2.0)}
    page = (docs / "results.md").read_text()
    assert "| `a.r1` | 17.26 | per cent | dev | 1 | 0.5 | `make x` |" in page
    assert "| `b` | 2 | per cent | dev | 1 |  | `make x` |" in page
    assert page.endswith("R@1 is 17.3, R@5 not measured, {Braces} stay.\n")


def test_a_missing_file_is_one_sentence(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert results.main(["--merge", str(docs / "nothing.json")]) == 2
    assert "there is no" in capsys.readouterr().err


def test_a_figure_says_where_it_was_measured() -> None:
    made = figure(0.123456, "ratio", "tune", "make y")
    assert (made.value, made.seeds, made.spread) == (0.1235, 1, None)
    assert "cores" in made.machine


def test_the_page_in_docs_is_made_from_the_record_in_docs() -> None:
    record = json.loads(results.RECORD.read_text())
    assert results.PAGE.read_text() == results.page(record)
    names = {field.name for field in fields(Figure)}
    assert record and all(entry.keys() == names for entry in record.values())
