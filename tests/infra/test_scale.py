"""What very large archives come to: reckoned from measured figures, and put between the page's marks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra import scale
from infra.scale import Archive, Reckoned, ScaleOptions

MEASURED = {
    "bulk.images_per_s": 20.0,
    "bulk.bytes_a_photograph": 1000.0,
    "scale.made_reads": 1.0,
    "scale.made_writes": 2.0,
    "scale.checked_reads": 2.0,
    "scale.shards_per_s": 50.0,
    "scale.driver_kb_a_shard": 2.0,
    "scale.manifest_bytes_a_shard": 200.0,
    "scale.resume_shards_per_s": 1000.0,
    "scale.plan_mb": 300.0,
}


def test_figures_follow_from_what_was_measured() -> None:
    options = ScaleOptions(vcpus=100, price=0.04)
    loose = Reckoned(Archive(3_600_000, 100, tars=False), options, MEASURED.__getitem__)
    assert loose.vcpu_hours == 100  # ten a second
    assert loose.reads() == 3_600_000 + 36_000 * (1 + 2 * 2) * 3
    assert loose.writes() == 36_000 * 2 + 36_000 / 64 + 3_600
    rows = loose.rows()
    assert (rows["shards"], rows["machines"], rows["the table"]) == ("36,000", "$4", "3.6 GB")
    assert rows["commits a second that are needed"] == "10.00"
    assert rows["the driver's share of one process"] == "20 %"
    assert rows["lost where an actor dies, at most"] == "10 s"
    assert rows["and for a list of the names"] == "0.1 GB"
    tars = Reckoned(Archive(3_600_000, 1000, tars=True), options, MEASURED.__getitem__)
    assert tars.reads() == 3_600 + 3_600_000 / 25 + 3_600 * 5 * 3
    assert tars.rows()["and for a list of the names"] == "none"


def test_the_page_has_the_table_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name, file in (("RECORD", "results.json"), ("PAGE", "scale.md")):
        monkeypatch.setattr(scale, name, tmp_path / file)
    monkeypatch.setattr(scale, "ROOT", tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({key: {"value": value} for key, value in MEASURED.items()}))
    (tmp_path / "scale.md").write_text(f"before\n{scale.BEGIN}{scale.END}after\n")
    for _ in range(2):
        assert scale.main([]) == 0
    page = (tmp_path / "scale.md").read_text()
    assert page.startswith("before\n") and page.endswith("after\n") and page.count("| shards |") == 1
    (tmp_path / "results.json").write_text("{}")
    assert scale.main([]) == 2
    assert "has no bulk.images_per_s" in capsys.readouterr().err
