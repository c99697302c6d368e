"""The loop that all models are trained by: over torch.distributed, with Ray or without.

An epoch is a fixed number of steps, the same on every worker. After each, the first worker measures the validation
split, the best weights so far are kept, a checkpoint is written, and `report` is told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vsalign.errors import ConfigurationError, VsalignError
from vsalign.training.state import TrainingState

AGAINST_DIVERGENCE = (
    "the training diverged, so lower learning_rate or lengthen warmup (where it is so from the first step: look for "
    "features of the regions table that are not finite)"
)

Report = Callable[[dict[str, Any], Path | None], None]
"""Called by every worker at the end of an epoch with its figures and, on the first worker, a checkpoint folder."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What every model is trained with; each says the defaults that are its own."""

    epochs: int
    """Times that everything is seen."""
    batch_size: int = 100
    """Pairs of an image and a text a step, over all workers (the paper's 100)."""
    learning_rate: float = 0.001
    """At its highest: it warms up over `warmup` steps and falls to 0 along a cosine."""
    warmup: int = 200
    """Steps in which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """L2 penalty; the paper cross-validates it."""
    clip: float = 5.0
    """Gradients are clipped element-wise at this value (the paper's 5)."""
    train_split: str = "train"
    """The split that is learned from; the vocabulary comes from it alone."""
    validation_split: str = "tune"
    """The split whose figure chooses the epoch that is kept."""
    patience: int
    """Epochs without a better figure after which training stops."""
    seed: int = 0
    """Fixes weights, order and dropout."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give at least 1")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: it must be above 0")
        for name in ("weight_decay", "warmup"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give 0 or more")


@dataclass(frozen=True, kw_only=True)
class PairSchedule(Schedule):
    """What the models of images and texts are trained with."""

    min_count: int = 5
    """Words seen less often in training captions are UNK (the paper's 5)."""
    window_images: int = 8192
    """Images shuffled at a time, up to a row group (64 MB) more: bounds a worker's memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("min_count", "window_images"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give at least 1")


class Stream(Protocol):
    """What an epoch's batches come from: the same number of steps on every worker, in an order that the epoch fixes."""

    pairs: int
    """Things to learn from, over all workers."""

    def steps(self, batch_size: int, workers: int = 1) -> int: ...

    def epoch(self, epoch: int, batch_size: int, *, worker: int = 0, workers: int = 1) -> Iterator[Any]: ...


def train(
    config: Schedule,
    state: TrainingState,
    stream: Stream,
    cost: Callable[[nn.Module, Any], Tensor],
    validate: Callable[[], tuple[float, dict[str, float]]],
    work: Path,
    report: Report,
) -> None:
    """Train `state.model` until its epochs are done or `patience` of them brought nothing; the best weights stay in it.

    cost: the scalar to minimise, of the (perhaps distributed) model and a batch. validate: called on the first worker;
    the figure to maximise, and others to report. Raises VsalignError where the loss or the figure is no number, or the
    workers read different tables.
    """
    number, workers = worker()
    require_same_pairs(stream)
    trained = DistributedDataParallel(state.model) if workers > 1 else state.model
    while state.epoch < config.epochs and state.epoch - 1 - state.best_epoch < config.patience:
        started = time.monotonic()
        metrics = {"epoch": state.epoch, "loss": train_epoch(config, state, trained, stream, cost)}
        figure = -math.inf
        if number == 0:
            state.model.eval()
            figure, figures = validate()
            metrics |= figures
        figure = from_first_worker(figure)
        if math.isnan(figure):
            raise VsalignError(f"the validation figure of epoch {state.epoch} is no number: {AGAINST_DIVERGENCE}")
        metrics["seconds"] = time.monotonic() - started
        state.note(figure, metrics)
        if number == 0:
            state.save(work)
        report(metrics, work if number == 0 else None)
    state.model.load_state_dict(state.best_weights)
    state.model.eval()


def train_epoch(
    config: Schedule,
    state: TrainingState,
    trained: nn.Module,
    stream: Stream,
    cost: Callable[[nn.Module, Any], Tensor],
) -> float:
    """One epoch; the mean of this worker's costs. Raises VsalignError, with epoch and step, where one is no number."""
    number, workers = worker()
    batch_size = max(1, config.batch_size // workers)
    steps = stream.steps(batch_size, workers)
    seed_epoch(config.seed, state.epoch)
    trained.train()
    total = 0.0
    for step, batch in enumerate(stream.epoch(state.epoch, batch_size, worker=number, workers=workers)):
        set_rate(state.optimiser, config, state.epoch * steps + step, config.epochs * steps)
        value = cost(trained, batch)
        total += value.item()
        if not math.isfinite(total):
            raise VsalignError(
                f"the loss of epoch {state.epoch}, step {step} of {steps}, is {value.item()}: {AGAINST_DIVERGENCE}"
            )
        state.optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_value_(trained.parameters(), config.clip)
        state.optimiser.step()
    return total / steps


def set_rate(optimiser: torch.optim.Optimizer, config: Schedule, step: int, steps: int) -> None:
    """The learning rate of a step: a linear warm-up, then half a cosine down to 0."""
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup))
    for group in optimiser.param_groups:
        group["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2


def seed_epoch(seed: int, epoch: int) -> None:
    """Start this worker's random numbers (dropout) of an epoch."""
    rank, _ = worker()
    torch.manual_seed((seed * 1_000_003 + epoch) * 1_009 + rank)


def worker() -> tuple[int, int]:
    """This process's rank and the number of training workers; (0, 1) without torch.distributed."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def mean_over_workers(count: int) -> float:
    """The mean of a count over the workers, on every worker."""
    _, workers = worker()
    if workers == 1:
        return float(count)
    total = torch.tensor(count)
    dist.all_reduce(total)
    return int(total) / workers


def require_same_pairs(stream: Stream) -> None:
    """Raise VsalignError, naming ranks and counts, unless all workers have the same number of pairs.

    Their steps would differ, and the others wait for ever for one that is done with its epoch.
    """
    _, workers = worker()
    if workers == 1:
        return
    own = torch.tensor([stream.pairs])
    counts = [torch.empty_like(own) for _ in range(workers)]
    dist.all_gather(counts, own)
    pairs = [int(count) for count in counts]
    if len(set(pairs)) > 1:
        shown = ", ".join(f"rank {rank}: {count}" for rank, count in enumerate(pairs))
        raise VsalignError(
            f"the workers read different numbers of pairs ({shown}): let all of them read the same, finished tables"
        )


def from_first_worker(value: float) -> float:
    """The first worker's value, on every worker."""
    rank, workers = worker()
    if workers == 1:
        return value
    shared = torch.tensor([value if rank == 0 else 0.0], dtype=torch.float64)
    dist.broadcast(shared, 0)
    return float(shared)
