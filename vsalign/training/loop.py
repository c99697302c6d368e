"""The loop that all models are trained by: over torch.distributed, with Ray or without.

An epoch is a fixed number of steps, the same on every worker. After each, the first worker measures the validation
split, the best weights so far are kept, a checkpoint is written, and `report` is told.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vsalign.errors import VsalignError
from vsalign.training.ahead import ahead
from vsalign.training.curves import Curves
from vsalign.training.schedule import Running, Schedule
from vsalign.training.state import TrainingState
from vsalign.training.workers import from_first_worker, require_same_pairs, worker

AGAINST_DIVERGENCE = (
    "the training diverged, so lower learning_rate or lengthen warmup (where it is so from the first step: look for "
    "features of the regions table that are not finite)"
)

Report = Callable[[dict[str, Any], Path | None], None]
"""Called by every worker with figures and, on the first worker, a checkpoint folder: at the end of an epoch, and (then
with `epoch` and `step` alone) in between."""

Validate = Callable[[], tuple[float, dict[str, float]]]
"""Called on the first worker: the figure to maximise, and all to report."""

Cost = Callable[[nn.Module, Any], tuple[Tensor, dict[str, float]]]
"""The scalar to minimise, of the (perhaps distributed) model and a batch, and what else is to be told of it."""


class Stream(Protocol):
    """What an epoch's batches come from: the same number of steps on every worker, in an order that the epoch fixes."""

    pairs: int
    """Things to learn from, over all workers."""

    def steps(self, batch_size: int, workers: int = 1) -> int: ...

    def epoch(
        self, epoch: int, batch_size: int, *, worker: int = 0, workers: int = 1, first_step: int = 0
    ) -> Iterator[Any]: ...


class Training:
    """A model on its way. work: folder of its checkpoint."""

    def __init__(
        self,
        config: Schedule,
        running: Running,
        state: TrainingState,
        stream: Stream,
        cost: Cost,
        work: Path,
        report: Report,
    ) -> None:
        require_same_pairs(stream)
        self.config, self.running, self.state, self.stream = config, running, state, stream
        self.cost, self.work, self.report = cost, work, report
        self.rank, self.workers = worker()
        self.batch_size = max(1, config.batch_size // self.workers)
        self.steps_an_epoch = stream.steps(self.batch_size, self.workers)
        self.total = config.steps(self.steps_an_epoch)
        self.model: nn.Module = DistributedDataParallel(state.model) if self.workers > 1 else state.model

    @property
    def step(self) -> int:
        """Steps that are done, over all epochs."""
        return self.state.epoch * self.steps_an_epoch + self.state.step

    def run(self, validate: Validate, samples: Callable[[], str] | None = None) -> None:
        """Train until the steps are done or `patience` epochs brought nothing; the best weights stay in the model.

        samples: called after validate, a text (Markdown) to stand beside the curves. Raises VsalignError where the loss
        or the figure is no number.
        """
        state = self.state
        curves = Curves(self.running.tensorboard, self.step + 1) if self.running.tensorboard and not self.rank else None
        with contextlib.closing(curves) if curves else contextlib.nullcontext():
            self._epochs(validate, samples, curves)
        state.model.load_state_dict(state.best_weights)
        state.model.eval()

    def _epochs(self, validate: Validate, samples: Callable[[], str] | None, curves: Curves | None) -> None:
        state = self.state
        while self.step < self.total and state.epoch - 1 - state.best_epoch < self.config.patience:
            started = time.monotonic()
            self._epoch(curves)
            metrics = {"epoch": state.epoch, **state.means()}
            figure = -math.inf
            with state.averaged():
                if self.rank == 0:
                    state.model.eval()
                    figure, figures = validate()
                    metrics |= figures
                    if curves:
                        curves.add(self.config.validation_split, figures, self.step)
                        if samples:
                            curves.say(self.config.validation_split, samples(), self.step)
                figure = from_first_worker(figure)
                if math.isnan(figure):
                    raise VsalignError(
                        f"the validation figure of epoch {state.epoch} is no number: {AGAINST_DIVERGENCE}"
                    )
                metrics["seconds"] = time.monotonic() - started
                state.note(figure, metrics)
            self._checkpoint(metrics, curves)

    def _epoch(self, curves: Curves | None) -> None:
        """What is left of the epoch. Raises VsalignError, with epoch and step, where a cost is no number."""
        state, steps = self.state, min(self.steps_an_epoch, self.total - self.state.epoch * self.steps_an_epoch)
        self.model.train()
        share = {"worker": self.rank, "workers": self.workers, "first_step": state.step}
        left = islice(self.stream.epoch(state.epoch, self.batch_size, **share), steps - state.step)
        for batch in ahead(left, pinned if self.running.device.startswith("cuda") else None):
            seed_step(self.config.seed, state.epoch, state.step)
            rate = set_rate(state.optimiser, self.config, self.step, self.total)
            value, figures = self.cost(self.model, batch)
            figures = {"loss": value.item(), **figures}
            if not math.isfinite(figures["loss"]):
                raise VsalignError(
                    f"the loss of epoch {state.epoch}, step {state.step} of {steps}, is {figures['loss']}: "
                    f"{AGAINST_DIVERGENCE}"
                )
            state.optimiser.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_value_(self.model.parameters(), self.config.clip)
            state.optimiser.step()
            state.add(figures)
            if curves:
                curves.add(self.config.train_split, {**figures, "learning_rate": rate}, self.step)
            often = self.running.checkpoint_steps
            if often and state.step % often == 0 and state.step < steps:
                self._checkpoint({"epoch": state.epoch, "step": state.step}, curves)

    def _checkpoint(self, metrics: dict[str, Any], curves: Curves | None) -> None:
        if curves:
            curves.flush()  # what lies before a checkpoint is not told again
        if self.rank == 0:
            self.state.save(self.work)
        self.report(metrics, self.work if self.rank == 0 else None)


def pinned(batch: Any) -> Any:
    """The batch in memory that a GPU copies by itself, where it knows how."""
    return batch.pinned() if hasattr(batch, "pinned") else batch


def set_rate(optimiser: torch.optim.Optimizer, config: Schedule, step: int, steps: int) -> float:
    """Set and return the learning rate of a step: a linear warm-up, then half a cosine down to 0."""
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup))
    rate *= (1 + math.cos(math.pi * step / steps)) / 2
    for group in optimiser.param_groups:
        group["lr"] = rate
    return rate


def seed_step(seed: int, epoch: int, step: int) -> None:
    """Start this worker's random numbers (dropout) of a step, so that a resumed run draws the same ones."""
    rank, _ = worker()
    torch.manual_seed((((seed * 1_000_003 + epoch) * 1_000_003 + step) * 1_009 + rank) % 2**63)
