"""Tables of one plan: the same shards, also when it grows, and what any of them lacks is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from tests.vsalign.storage.conftest import Captions, caption
from vsalign.errors import ConfigurationError
from vsalign.storage import Folder, Output, ShardTask, Stage, begin, follow, pending_together
from vsalign.storage.layout import MANIFEST

SCHEMA = pa.schema([("uri", pa.string()), ("kind", pa.string())])


def begun(output: Output, names: list[str]) -> Stage:
    """Planned a name a shard, or refreshed."""
    shards = [[{"uri": name, "kind": "image"}] for name in names]
    return begin(output, lambda: shards, SCHEMA, {"listed": len(names)}, overwrite=False, refresh=True)


def commit(output: Output, task: ShardTask) -> None:
    writer = output.open_shard(task)
    writer.write([caption(f"{task.shard}")])
    writer.commit(1)


def test_a_follower_has_the_same_plan_also_when_it_has_grown(captions: Captions, tmp_path: Path) -> None:
    output = replace(captions.output, url=str(tmp_path / "beside"))
    for names in (["a", "b"], ["a", "b"], ["a", "b", "c"]):
        first = begun(captions.output, names)
        second = Stage(output)
        follow(second, first)
        assert second.held_plan() == first.held_plan() and second.plan_counts() == {"listed": len(names)}
        tasks = pending_together([first, second])
        assert [output.read_plan(task) for task in second.tasks()] == [
            captions.output.read_plan(task) for task in first.tasks()
        ]
        for task in tasks:
            commit(output, task)
            commit(captions.output, task)
        assert first.finish().rows == second.finish().rows == len(names)
        assert {MANIFEST} <= set(Folder(output.url).names())


def test_what_one_of_them_lacks_is_made_in_a_generation_of_its_own(captions: Captions, tmp_path: Path) -> None:
    output = replace(captions.output, url=str(tmp_path / "beside"))
    first, second = begun(captions.output, ["a", "b", "c"]), Stage(output)
    follow(second, first)
    for task in pending_together([first, second]):
        commit(output, task)
        if task.shard:
            commit(captions.output, task)
    Folder(output.url).replace("part-00001.g0.parquet", b"damaged")

    left = pending_together([first, second])
    assert [(task.shard, task.generation) for task in left] == [(0, 1), (1, 1)]
    for task in left:
        commit(output, task)
        commit(captions.output, task)
    assert first.finish().rows == second.finish().rows == 3
    assert pending_together([first, second]) == []


def test_what_was_planned_apart_is_refused(captions: Captions, tmp_path: Path) -> None:
    output = replace(captions.output, url=str(tmp_path / "beside"))
    begun(output, ["a"])
    with pytest.raises(ConfigurationError, match="was planned apart from"):
        follow(Stage(output), begun(captions.output, ["a"]))
