"""A run in which one shard ends its actor each time, as one does that is out of memory: python deadly_shards.py OUTPUT.

Started by test_shards.py in a process of its own; leaves with the run's exit status.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from jobs.shards import ShardOptions, make_shards
from vsalign import tables
from vsalign.command import exit_status
from vsalign.storage import Output, ShardResult, ShardTask, Stage

DEADLY = 2


@dataclass(frozen=True)
class Deadly:
    """Commits an empty shard, but for one."""

    output: Output

    def load(self) -> Callable[[ShardTask], ShardResult]:
        def make(task: ShardTask) -> ShardResult:
            if task.shard == DEADLY:
                os.kill(os.getpid(), signal.SIGKILL)
            return self.output.open_shard(task).commit(0)

        return make


def main(url: str) -> int:
    output = Output(url, "captions", tables.CAPTIONS, "deadly", {})
    stage = Stage(output)
    stage.plan([[{"row": "any"}] for _ in range(5)], pa.schema([("row", pa.string())]), {})
    return make_shards(stage, Deadly(output), ShardOptions(output=url, actors=1), "captions")


if __name__ == "__main__":
    sys.exit(exit_status(lambda: main(sys.argv[1])))
