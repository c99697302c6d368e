"""What a training run must remember to go on as if it had never stopped."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vsalign.errors import ModelError
from vsalign.storage.layout import TEMPORARY_SUFFIX
from vsalign.text import Vocabulary
from vsalign.training.stream import PairStream

STATE_FILE = "state.pt"


class TrainingState:
    """Model, optimiser, epoch and step, best figure and best weights, in one file of tensors.

    Epoch and step fix the schedule and the order. Random numbers need no place: `seed_step` starts each step from the
    seed, the epoch, the step and the worker.
    """

    def __init__(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, fingerprint: str, average: float = 0.0
    ) -> None:
        self.model, self.optimiser, self.fingerprint, self.average = model, optimiser, fingerprint, average
        self.mean: list[torch.Tensor] = [each.detach().clone() for each in model.parameters()] if average else []
        """The running mean of the parameters, which keeps the share `average` a step; empty where that is 0."""
        self.taken = 0
        """Steps in it."""
        self.epoch = 0
        """Epochs that are done."""
        self.step = 0
        """Steps of the next one that are done."""
        self.sums: dict[str, float] = {}
        """Of what these steps told."""
        self.best = -float("inf")
        self.best_epoch = -1
        self.best_weights: dict[str, torch.Tensor] = {}
        self.history: list[dict[str, float]] = []

    def add(self, figures: Mapping[str, float]) -> None:
        """Count a step as done, with what it told."""
        self.step += 1
        if self.mean:
            self.taken += 1
            share = max(1 - self.average, 1 / self.taken)  # of the first steps a plain mean, not one of random weights
            torch._foreach_lerp_(self.mean, [each.detach() for each in self.model.parameters()], share)
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in figures.items()}

    def means(self) -> dict[str, float]:
        """Of what the epoch's steps told."""
        return {name: value / self.step for name, value in self.sums.items()}

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """With the mean weights in the model's place, where they are taken."""
        own = [each.detach().clone() for each in self.model.parameters()] if self.mean else []
        self._put(self.mean)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, weights: list[torch.Tensor]) -> None:
        if weights:
            for parameter, weight in zip(self.model.parameters(), weights, strict=True):
                parameter.copy_(weight)

    def note(self, figure: float, metrics: dict[str, float]) -> bool:
        """Count an epoch as done, keeping its weights where its figure is the best so far; whether it is."""
        better = figure > self.best or self.best_epoch < 0
        if better:
            self.best, self.best_epoch = figure, self.epoch
            self.best_weights = {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}
        self.epoch, self.step, self.sums = self.epoch + 1, 0, {}
        self.history.append(metrics)
        return better

    def summary(self) -> dict[str, Any]:
        """What the model's configuration says of its training."""
        return {"best_epoch": self.best_epoch, "history": self.history}

    def save(self, folder: Path) -> None:
        """Write the state into `folder`, which exists; the file appears whole."""
        buffer = io.BytesIO()
        torch.save(
            {
                "fingerprint": self.fingerprint,
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "epoch": self.epoch,
                "step": self.step,
                "sums": self.sums,
                "best": self.best,
                "best_epoch": self.best_epoch,
                "best_weights": self.best_weights,
                "history": self.history,
                "mean": self.mean,
                "taken": self.taken,
            },
            buffer,
        )
        unfinished = folder / (STATE_FILE + TEMPORARY_SUFFIX)
        unfinished.write_bytes(buffer.getvalue())
        os.replace(unfinished, folder / STATE_FILE)

    def load(self, folder: Path) -> None:
        """Go on from a saved state.

        Raises ModelError where there is none, or it is damaged or of another run (configuration, data, vocabulary).
        """
        try:
            saved = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
            found = saved["fingerprint"]
        except Exception as error:  # torch names a dozen causes by as many exceptions
            raise ModelError(
                f"the checkpoint {folder / STATE_FILE} cannot be read ({type(error).__name__}: "
                f"{(str(error) or 'no reason given').splitlines()[0]}): delete it, and training begins anew"
            ) from error
        if found != self.fingerprint:
            raise ModelError(
                f"the checkpoint {folder} is of another run (configuration, tables or vocabulary differ): "
                "give another --output, or --overwrite"
            )
        self.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.epoch, self.best, self.best_epoch = saved["epoch"], saved["best"], saved["best_epoch"]
        self.step, self.sums = saved["step"], saved["sums"]
        self.best_weights, self.history = saved["best_weights"], saved["history"]
        self.taken = saved["taken"]
        with torch.no_grad():
            for own, kept in zip(self.mean, saved["mean"], strict=True):
                own.copy_(kept)


def fingerprint(config: Any, data: Any, vocabulary: Vocabulary, stream: PairStream) -> str:
    """What must be equal for a checkpoint to be gone on from; the numbers of images and pairs fix the order."""
    extractor, sizes = stream.regions.properties["extractor"], [len(ids) for ids in stream.image_ids]
    return repr((asdict(config), asdict(data), vocabulary.sha256, extractor, sizes, stream.pairs))
