"""How long, how fast and on what a model is trained: the options that all models share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vsalign.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What every model is trained with; each says the defaults that are its own."""

    epochs: int
    """Times that everything is seen."""
    max_steps: int = 0
    """Steps after which training ends, though epochs are left, for trials: the last epoch is cut, the learning rate
    falls to 0 by then. 0: none."""
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
    average: float = 0.0
    """What is measured and kept is a running mean of the weights that keeps this share a step; 0: the weights."""
    patience: int
    """Epochs without a better figure after which training stops."""
    seed: int = 0
    """Fixes weights, order and dropout."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give at least 1")
        if not 0 <= self.average < 1:
            raise ConfigurationError(f"average is {self.average}: it lies in [0, 1)")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: it must be above 0")
        for name in ("weight_decay", "warmup", "max_steps"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give 0 or more")

    def steps(self, an_epoch: int) -> int:
        """Steps of the whole training, at `an_epoch` an epoch."""
        every = self.epochs * an_epoch
        return min(every, self.max_steps or every)


@dataclass(frozen=True, kw_only=True)
class PairSchedule(Schedule):
    """What the models of images and texts are trained with."""

    min_count: int = 5
    """Words seen less often in training captions are UNK (the paper's 5)."""
    window_images: int = 8192
    """Images shuffled at a time, up to a row group (64 MB) more: bounds a worker's memory."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the matrix products. bfloat16 is for GPUs: on most CPUs it is many times slower."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("min_count", "window_images"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give at least 1")


@dataclass(frozen=True, kw_only=True)
class Running:
    """Where a training runs and what it leaves on the way: nothing that the model depends on but for last digits."""

    device: str = "cpu"
    """torch's name of this worker's device."""
    checkpoint_steps: int = 0
    """A checkpoint is written after so many steps of an epoch too; 0: at the end of each epoch alone."""
    tensorboard: str = ""
    """Folder that the first worker writes curves to for TensorBoard; empty: none."""
    cache: str = ""
    """Local folder in which a sentence encoder's states of the training captions are kept for the next run; empty: they
    are kept as long as the run lasts."""


HERE = Running()
"""On the CPU, with a checkpoint an epoch."""
