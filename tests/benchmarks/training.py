"""A training step from Parquet beside one from memory, and two workers beside one.

python -m tests.benchmarks.training --regions TABLE --captions TABLE --json FILE

The best recipe's model and batch, its words' states random numbers of the right size, so that no sentence encoder is
needed. Parquet and memory go in turns in one process, over the same batches. One worker of one thread, then two of one
thread each (gloo), learn from the same batches of pairs, in processes of their own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from tests.benchmarks.record import Measured, write_record
from vsalign.alignment import AlignmentModel
from vsalign.allocator import keep_freed_memory
from vsalign.options import parse
from vsalign.storage import TableReader
from vsalign.text import Vocabulary
from vsalign.training.ahead import ahead
from vsalign.training.alignment import RECIPES, AlignmentTraining, cost_of, optimiser_of
from vsalign.training.state import TrainingState
from vsalign.training.stream import Batch, PairStream
from vsalign.training.texts import caption_texts, captions_of
from vsalign.training.workers import worker

WARM = 3
"""Steps before any clock starts."""


class Learner:
    """The recipe's model over the pairs of two tables."""

    def __init__(self, regions: str, captions: str) -> None:
        from jobs.train_alignment import Options

        options = ["--regions", regions, "--captions", captions, "--output", "none"]
        self.config: AlignmentTraining = parse(Options, options, prog="", description="", recipes=RECIPES).training
        own = captions_of(TableReader(captions, "captions"), "train")
        vocabulary = Vocabulary.build([caption.tokens for caption in own])
        rng = np.random.default_rng(0)
        size = self.config.model.state_dim
        states = {each.caption_id: rng.standard_normal((len(each.tokens), size)).astype(np.float16) for each in own}
        self.stream = PairStream(TableReader(regions, "regions"), caption_texts(own, vocabulary, states), seed=0)
        torch.manual_seed(0)
        self.model = AlignmentModel(self.stream.dim, len(vocabulary), self.config.model).train()
        self.model.regions.standardise(*self.stream.statistics())
        self.state = TrainingState(self.model, optimiser_of(self.config, self.model), "")
        self.cost = cost_of(self.config, self.model, self.state)
        rank, workers = worker()
        self.share = {"worker": rank, "workers": workers}
        self.batch = self.config.batch_size // workers
        self.trained: Any = DistributedDataParallel(self.model) if workers > 1 else self.model

    def batches(self) -> Iterator[Batch]:
        """Of an epoch, from Parquet."""
        return self.stream.epoch(0, self.batch, **self.share)

    def rate(self, batches: Iterator[Batch], steps: int) -> float:
        """Pairs a second, over all workers, of `steps` steps, reading included; batches made ahead as in training."""
        began = time.perf_counter()
        for step, batch in enumerate(ahead(batches)):
            value, _ = self.cost(self.trained, batch)
            value.item()
            self.state.optimiser.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_value_(self.trained.parameters(), self.config.clip)
            self.state.optimiser.step()
            if step + 1 == steps:
                break
        return steps * self.config.batch_size / (time.perf_counter() - began)


def from_parquet(regions: str, captions: str, steps: int, rounds: int) -> dict[str, Measured]:
    """The speed from Parquet over that of the same batches held in memory, an epoch's first steps (0: all)."""
    learner = Learner(regions, captions)
    steps = steps or learner.stream.steps(learner.batch)
    held = list(itertools.islice(learner.batches(), steps))
    learner.rate(iter(held), WARM)
    pairs = [(learner.rate(learner.batches(), steps), learner.rate(iter(held), steps)) for _ in range(rounds)]
    shape = f"{steps} steps of {learner.config.batch_size} pairs, {learner.stream.dim} numbers a region"
    ratios = [one / two for one, two in pairs]
    return {
        "train.parquet_over_memory": (statistics.median(ratios), f"ratio (median of {rounds} rounds)", shape),
        "train.pairs_per_s": (statistics.median([one for one, _ in pairs]), "pairs/s", shape),
    }


def by_workers(regions: str, captions: str, steps: int, rounds: int) -> dict[str, Measured]:
    """The speed of two workers of one thread over that of one."""
    ratios = []
    for _ in range(rounds):
        one, two = (_rate_of(count, [regions, captions, str(steps)]) for count in (1, 2))
        ratios.append(two / one)
    shape = f"{steps} steps of the same batches, one thread each"
    return {"train.two_workers": (statistics.median(ratios), f"times one worker (median of {rounds} rounds)", shape)}


def _rate_of(workers: int, arguments: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.benchmarks.training", "--worker", folder, str(workers)]
        running = [subprocess.Popen([*command, str(rank), *arguments]) for rank in range(workers)]
        if any(each.wait() for each in running):
            raise RuntimeError("a worker failed")
        return float(json.loads((Path(folder) / "rate.json").read_text()))


def work(folder: str, workers: str, rank: str, regions: str, captions: str, steps: str) -> None:
    """One worker's part; the first writes the speed of all."""
    torch.set_num_threads(1)
    keep_freed_memory()
    if int(workers) > 1:
        meeting = f"file://{folder}/meeting"
        dist.init_process_group("gloo", init_method=meeting, rank=int(rank), world_size=int(workers))
    learner = Learner(regions, captions)
    learner.rate(learner.batches(), WARM)
    rate = learner.rate(learner.batches(), int(steps))
    if rank == "0":
        (Path(folder) / "rate.json").write_text(json.dumps(rate))
    if int(workers) > 1:
        dist.barrier()
        dist.destroy_process_group()


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        work(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", required=True, help="a regions table")
    parser.add_argument("--captions", required=True, help="the captions table of its pictures, with a split train")
    parser.add_argument("--steps", type=int, default=0, help="of each round, from an epoch's beginning; 0: all of it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    keep_freed_memory()
    figures = from_parquet(asked.regions, asked.captions, asked.steps, asked.rounds)
    figures |= by_workers(asked.regions, asked.captions, asked.steps or 40, asked.rounds)
    write_record(asked.json, figures)


if __name__ == "__main__":
    main()
