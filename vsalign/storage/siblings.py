"""Tables whose shards are made together, from one plan: the same inputs in the same shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from vsalign.errors import ConfigurationError
from vsalign.storage.layout import MANIFEST, PLAN
from vsalign.storage.shards import ShardTask
from vsalign.storage.stage import Stage


def follow(stage: Stage, other: Stage) -> None:
    """Give a stage the plan of another one, also where that has grown.

    Raises ConfigurationError where it was planned apart.
    """
    plan = other.held_plan()
    held = stage.held_plan() if stage.folder.exists(PLAN) else {"files": []}
    if held == plan:
        return
    known = len(held["files"])
    if plan["files"][:known] != held["files"]:
        raise ConfigurationError(
            f"{stage.output.url} was planned apart from {other.output.url}: give another folder, or --overwrite"
        )
    for name, _ in plan["files"][known:]:
        stage.folder.replace(name, other.folder.read(name))
    stage.folder.remove(MANIFEST)  # with new shards to be made the table is not complete
    stage.folder.replace(PLAN, json.dumps(plan).encode())


def pending_together(stages: Sequence[Stage]) -> list[ShardTask]:
    """The shards that any of some tables of one plan lacks, in a generation that none of them has a file of."""
    tasks = {task.shard: task for stage in stages for task in stage.pending()}
    return [
        replace(tasks[shard], generation=max(stage.next_generation(shard) for stage in stages))
        for shard in sorted(tasks)
    ]
