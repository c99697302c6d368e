"""What every describer is: words one after the other, given the regions of an image, one of which is described."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vsalign.errors import ConfigurationError
from vsalign.text import PAD, START, UNK

Context = tuple[Tensor, ...]
"""What stays the same over a sentence, each (B, …)."""
State = tuple[Tensor, ...]
"""What is carried from word to word, each (B, K, …) for K hypotheses; `logits` reads the first."""


@dataclass(frozen=True)
class DescriberConfig:
    """The kind of a describer and its sizes."""

    describer: Literal["mrnn", "attention"] = "mrnn"
    """mrnn: the paper's Multimodal RNN, which sees the described region at its first word. attention: an LSTM that
    looks at all regions again at every word."""
    hidden: int = 512
    """Units of the recurrent layer (the paper's 512)."""
    word_dim: int = 300
    """Dimensions of a word vector; attention's output layer has the same vectors."""
    dropout: float = 0.5
    """Share of units dropped while training, on every layer but the recurrent one."""
    whole: bool = False
    """mrnn: of a region it sees the whole image (region 0) beside; attention sees it in any case."""

    def __post_init__(self) -> None:
        if min(self.hidden, self.word_dim) < 1 or not 0 <= self.dropout < 1:
            raise ConfigurationError(
                f"hidden {self.hidden}, word_dim {self.word_dim}, dropout {self.dropout}: "
                "sizes are at least 1, dropout lies in [0, 1)"
            )

    @property
    def shown(self) -> Literal["described", "whole", "all"]:
        """Which of an image's features it reads: the described region's, the whole image's beside it, or all."""
        return "all" if self.describer == "attention" else "whole" if self.whole else "described"


class DescriberNetwork(nn.Module, ABC):
    """Words from features that are standardised by the training set's mean and scale (a fixed affine map)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, feature_dim: int, vocabulary_size: int, config: DescriberConfig) -> None:
        super().__init__()
        self.config, self.feature_dim, self.vocabulary_size = config, feature_dim, vocabulary_size
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("scale", torch.ones(()))

    def standardise(self, mean: Tensor, scale: float) -> None:
        """Set the mean (D,) and the scale of the training features, once, before training."""
        self.mean.copy_(mean)
        self.scale.fill_(scale)

    def standardised(self, features: Tensor) -> Tensor:
        """(..., D), float16 or float32 -> (..., D)."""
        return (features - self.mean).div_(self.scale)

    @abstractmethod
    def encode(self, features: Tensor, mask: Tensor) -> Context:
        """Images: features (B, R, D), mask (B, R), False where there is no region. Done once an image."""

    @abstractmethod
    def start(self, context: Context, described: Tensor) -> State:
        """The state after START, of one hypothesis (B, 1, …), where the region `described` (B,) is described."""

    @abstractmethod
    def step(self, context: Context, state: State, words: Tensor) -> State:
        """The state after words (B, K), from one of (B, K, …)."""

    @abstractmethod
    def logits(self, out: Tensor) -> Tensor:
        """The first of a state, (..., n) -> (..., vocabulary) before the softmax."""

    def forward(self, features: Tensor, mask: Tensor, described: Tensor, words: Tensor, lengths: Tensor) -> Tensor:
        """Teacher forcing of K texts an image; images as in `encode` and `start`.

        words: START w_1 .. w_n (B, K, T); lengths: n + 1 (B, K). The logits (W, vocabulary) of the W = Σ lengths steps,
        text by text: padding costs nothing.
        """
        views = torch.arange(len(features), device=features.device).repeat_interleave(words.shape[1])
        words, lengths = words.flatten(0, 1), lengths.flatten()
        order = lengths.argsort(descending=True, stable=True)
        context = tuple(each[views[order]] for each in self.encode(features, mask))
        state = self.start(context, described[views[order]])
        outs = [state[0][:, 0]]
        steps = torch.arange(int(lengths.max()), device=words.device)
        open_at = (steps < lengths[:, None]).sum(0).tolist()  # how many texts have a word t: longest first
        for following, count in zip(words[order, 1 : len(steps)].unbind(1), open_at[1:], strict=True):
            context, state = (tuple(each[:count] for each in some) for some in (context, state))
            state = self.step(context, state, following[:count, None])
            outs.append(state[0][:, 0])
        ends = torch.tensor([0, *open_at], device=words.device).cumsum(0)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device)
        return self.logits(torch.cat(outs)[(rank[:, None] + ends[:-1])[steps < lengths[:, None]]])


def begun(words: Tensor) -> Tensor:
    """START for each of (B,): (B, 1)."""
    return torch.full((len(words), 1), START, device=words.device)


def never_said(device: torch.device) -> Tensor:
    """The ids that are no part of a sentence: PAD, START, UNK."""
    return torch.tensor([PAD, START, UNK], device=device)
