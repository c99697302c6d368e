"""An index is made as every table is: killed, refreshed, refused."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.vsalign.search.random_archive import A_SHARD, IMAGES, write_regions
from vsalign.errors import ConfigurationError
from vsalign.search import SearchIndex, building
from vsalign.search.building import IndexOptions, build_index
from vsalign.storage import TableReader


def test_a_build_that_was_killed_goes_on_and_ends_the_same(made: IndexOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    build_index(made)
    whole = TableReader(made.output, "index").read()
    again = IndexOptions(**{**vars(made), "output": made.output + "-again"})
    make, calls = building.Builder.make, itertools.count()

    def dies(*arguments: Any) -> None:
        if next(calls) == 1:
            raise KeyboardInterrupt
        make(*arguments)

    monkeypatch.setattr(building.Builder, "make", dies)
    with pytest.raises(KeyboardInterrupt):
        build_index(again)
    assert build_index(again) == 0
    assert next(calls) == len(TableReader(again.output, "index").shards) + 1, "what was committed is not made again"
    assert TableReader(again.output, "index").read().equals(whole)


def test_refresh_takes_in_what_came_since(made: IndexOptions, tmp_path: Path) -> None:
    build_index(made)
    before = TableReader(made.output, "index").read(["image_id"])["image_id"].to_pylist()
    write_regions(made.regions, IMAGES + 2 * A_SHARD)
    assert build_index(made) == 0
    assert len(SearchIndex(made.output)) == IMAGES
    assert build_index(IndexOptions(**{**vars(made), "refresh": True})) == 0
    after = TableReader(made.output, "index").read(["image_id"])["image_id"].to_pylist()
    assert after[: len(before)] == before and len(after) == len({*after}) == IMAGES + 2 * A_SHARD


def test_a_regions_table_that_lost_what_was_indexed_is_refused(made: IndexOptions, tmp_path: Path) -> None:
    build_index(made)
    shutil.rmtree(made.regions)
    write_regions(made.regions, A_SHARD + 2)
    with pytest.raises(ConfigurationError, match="any more, which .* was made of"):
        build_index(made)


def test_another_configuration_is_refused_with_the_difference(made: IndexOptions) -> None:
    build_index(made)
    with pytest.raises(ConfigurationError, match="dim: there 0, asked 8"):
        build_index(IndexOptions(**{**vars(made), "dim": 8}))
    assert build_index(IndexOptions(**{**vars(made), "dim": 8, "overwrite": True})) == 0
    assert SearchIndex(made.output).table.properties["space"]["dim"] == 8
    assert len([path for path in Path(made.output).iterdir() if path.name.startswith("space-")]) == 1
    with pytest.raises(ConfigurationError, match="the model's space has 16 numbers"):
        build_index(IndexOptions(**{**vars(made), "dim": 17, "output": made.output + "-more"}))
