"""The alignment model: regions and words in one space (paper, sections 3.1.1 and 3.1.2).

v_i  = W_m · CNN(I_b) + b_m
x_t  = W_w I_t
e_t  = f(W_e x_t + b_e)
hf_t = f(e_t + W_f hf_{t-1} + b_f)        left to right
hb_t = f(e_t + W_b hb_{t+1} + b_b)        right to left
s_t  = f(W_d (hf_t + hb_t) + b_d)         f = ReLU
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from vsalign.alignment.defrag import defrag
from vsalign.alignment.score import score
from vsalign.errors import ConfigurationError

SCORES = {"maxsim": score, "defrag": defrag}

INPUT_SCALE, OUTPUT_INIT, WORD_INIT = 0.25, 0.6, 0.1
"""Scales of the standardised features, of W_m and W_d at the start, and of the word vectors at the start.

Measured on Flickr8k's tune split: with them the first scores spread by about the margin. Larger ones make the summed
hinges of a batch diverge under SGD with momentum in the first hundred steps.
"""


@dataclass(frozen=True)
class AlignmentModelConfig:
    """The sizes of the alignment model."""

    h: int = 1000
    """Dimensions of the joint space (the paper cross-validates 1000 to 1600)."""
    hidden: int = 512
    """Units of each direction of the BRNN (the paper: 300 to 600)."""
    word_dim: int = 300
    """Dimensions of a word vector (the paper's word2vec)."""
    dropout: float = 0.2
    """Share of units dropped while training, on every layer but the recurrent ones (the paper does not say how many;
    chosen on Flickr8k's tune split)."""
    score: Literal["maxsim", "defrag"] = "maxsim"
    """maxsim: every word's best region (the paper's). defrag: every region above 0, its baseline."""

    def __post_init__(self) -> None:
        if min(self.h, self.hidden, self.word_dim) < 1 or not 0 <= self.dropout < 1:
            raise ConfigurationError(
                f"h {self.h}, hidden {self.hidden}, word_dim {self.word_dim}, dropout {self.dropout}: "
                "sizes are at least 1, dropout lies in [0, 1)"
            )


def _scale(weight: Tensor, factor: float) -> None:
    with torch.no_grad():
        weight.mul_(factor)


class RegionProjection(nn.Module):
    """v_i = W_m · CNN(I_b) + b_m, for features standardised by the training set's mean and scale.

    The standardisation is a fixed affine map, so v stays the paper's affine function of the feature; it puts any
    extractor's features on one scale for one learning rate.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, feature_dim: int, config: AlignmentModelConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("scale", torch.ones(()))
        self.dropout = nn.Dropout(config.dropout)
        self.W_m = nn.Linear(feature_dim, config.h)
        _scale(self.W_m.weight, OUTPUT_INIT)

    def standardise(self, mean: Tensor, scale: float) -> None:
        """Set the mean (D,) and the scale of the training features, once, before training."""
        self.mean.copy_(mean)
        self.scale.fill_(scale)

    def forward(self, features: Tensor) -> Tensor:
        """(..., D) -> (..., h)."""
        return self.W_m(self.dropout((features - self.mean) * (INPUT_SCALE / self.scale)))


class BRNN(nn.Module):
    """Words in their sentence's context: a vector of the joint space for each."""

    def __init__(self, vocabulary_size: int, config: AlignmentModelConfig) -> None:
        super().__init__()
        self.W_w = nn.Embedding(vocabulary_size, config.word_dim)
        self.W_e = nn.Linear(config.word_dim, config.hidden)
        self.W_f = nn.Linear(config.hidden, config.hidden)
        self.W_b = nn.Linear(config.hidden, config.hidden)
        self.W_d = nn.Linear(config.hidden, config.h)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.W_w.weight, std=WORD_INIT)
        _scale(self.W_d.weight, OUTPUT_INIT)
        # An identity keeps a ReLU recurrence from dying or exploding at the start (Le, Jaitly, Hinton 2015).
        for recurrent in (self.W_f, self.W_b):
            nn.init.eye_(recurrent.weight)
            _scale(recurrent.weight, 0.5)
            nn.init.zeros_(recurrent.bias)

    def set_word_vectors(self, vectors: Mapping[int, np.ndarray], *, fixed: bool) -> None:
        """Give the words of these ids their vectors (word_dim,); `fixed`: none of W_w learns, as in the paper."""
        with torch.no_grad():
            for word, vector in vectors.items():
                self.W_w.weight[word] = torch.from_numpy(vector)
        self.W_w.weight.requires_grad_(not fixed)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """words (M, T) ids, padded behind `lengths` (M,) -> s (W, h), the W = Σ lengths words, sentence by sentence."""
        order = lengths.argsort(descending=True, stable=True)
        sorted_lengths = lengths[order]
        steps = torch.arange(int(lengths.max()) if len(lengths) else 0, device=words.device)
        inside = steps < sorted_lengths[:, None]
        open_at = inside.sum(0).tolist()  # how many sentences have a word t: longest first, padding costs nothing
        e = torch.relu(self.W_e(self.dropout(self.W_w(words[order][:, : len(steps)]))))
        # Reversed within each sentence: position t holds word length - 1 - t.
        reverse = (sorted_lengths[:, None] - 1 - steps).clamp(min=0)[:, :, None].expand_as(e)
        hf = _recur(e, self.W_f, open_at)
        hb = _recur(e.gather(1, reverse), self.W_b, open_at).gather(1, reverse)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device)
        both = (hf + hb)[rank][inside[rank]]
        return torch.relu(self.W_d(self.dropout(both)))


def _recur(e: Tensor, recurrent: nn.Linear, open_at: list[int]) -> Tensor:
    """h_t = f(e_t + W h_{t-1} + b) over (M, T, hidden), where step t has its first open_at[t] sentences alone."""
    h = e.new_zeros(e.shape[0], e.shape[2])
    states = []
    for e_t, count in zip(e.unbind(1), open_at, strict=True):
        h = torch.relu(e_t[:count] + recurrent(h[:count]))
        states.append(nn.functional.pad(h, (0, 0, 0, e.shape[0] - count)))
    return torch.stack(states, 1) if states else e


class AlignmentModel(nn.Module):
    """Both sides of the score, and the score."""

    def __init__(self, feature_dim: int, vocabulary_size: int, config: AlignmentModelConfig) -> None:
        super().__init__()
        self.config, self.feature_dim, self.vocabulary_size = config, feature_dim, vocabulary_size
        self.regions = RegionProjection(feature_dim, config)
        self.sentences = BRNN(vocabulary_size, config)

    def forward(self, features: Tensor, words: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """features (N, R, D), words (M, T), lengths (M,) -> v (N, R, h), s (W, h) of the W = Σ lengths words."""
        return self.regions(features), self.sentences(words, lengths)

    def score(self, v: Tensor, region_mask: Tensor, s: Tensor, lengths: Tensor) -> Tensor:
        """S (N, M) of images and sentences; arguments as vsalign.alignment.score's."""
        return SCORES[self.config.score](v, region_mask, s, lengths)
