"""Runs whose inputs end, fail or hang their actor: python deadly_shards.py OUTPUT INPUTS…

Each of INPUTS is a shard: captions, parted by commas. `kill…` ends its actor, `raise…` fails, `hang…` stands still,
`always` ends the actor whenever its shard is made, but not when it is tried alone. Started by test_quarantine.py in a
process of its own; leaves with the run's exit status.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from jobs import shards
from jobs.quarantine import Lost, Made
from jobs.shards import ShardOptions, ShardWork, make_shards
from vsalign import tables
from vsalign.command import exit_status
from vsalign.errors import Reason
from vsalign.storage import Output, ShardTask, Stage


@dataclass(frozen=True)
class Deadly(ShardWork):
    """Commits captions, but for those that do harm."""

    output: Output

    def load(self) -> Deadly:
        return self

    def __call__(self, task: ShardTask, lost: Lost) -> Made:
        writer, rows = self.output.open_shard(task), self.output.read_plan(task)
        for row in rows:
            text = row["row"]
            if text in lost:
                writer.add_error(tables.error_row(text, "deadly", Reason.CRASHED, lost[text]))
                continue
            harm("kill" if text == "always" else text)
            known = {"image_id": text, "caption_id": text, "split": "train", "text": text, "tokens": [text]}
            writer.write([known])
        return Made(writer.commit(len(rows)))

    def one_by_one(self, task: ShardTask) -> Iterator[tuple[str, Callable[[], None]]]:
        for row in self.output.read_plan(task):
            yield row["row"], partial(harm, row["row"])


def harm(text: str) -> None:
    if text.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if text.startswith("raise"):
        raise RuntimeError("the network says no")
    if text.startswith("hang"):
        time.sleep(1000)


def main(url: str, inputs: Sequence[str]) -> int:
    if len(inputs) == 2:
        shards.SHARDS_AT_ONCE = 1  # Ray Data is begun a second time
    output = Output(url, "captions", tables.CAPTIONS, "deadly", {})
    stage = Stage(output)
    stage.plan([[{"row": text} for text in own.split(",")] for own in inputs], pa.schema([("row", pa.string())]), {})
    return make_shards(stage, Deadly(output), ShardOptions(output=url, actors=1, stall_seconds=3), "captions")


if __name__ == "__main__":
    sys.exit(exit_status(lambda: main(sys.argv[1], sys.argv[2:])))
