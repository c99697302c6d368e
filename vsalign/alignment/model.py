"""The alignment model: regions and words in one space (paper, section 3.1.1); the word side is vsalign.alignment.words.

v_i  = W_m · CNN(I_b) + b_m
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vsalign.alignment.config import AlignmentModelConfig
from vsalign.alignment.defrag import defrag
from vsalign.alignment.projection import INPUT_SCALE, Projection
from vsalign.alignment.score import score, symmetric
from vsalign.alignment.words import BRNN, BiGRU, LanguageWords

SCORES = {"maxsim": score, "symmetric": symmetric, "defrag": defrag}


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
        self.W_m = Projection(feature_dim, config)

    def standardise(self, mean: Tensor, scale: float) -> None:
        """Set the mean (D,) and the scale of the training features, once, before training."""
        self.mean.copy_(mean)
        self.scale.fill_(scale)

    def forward(self, features: Tensor) -> Tensor:
        """(..., D), float16 or float32 -> (..., h)."""
        out: Tensor = self.W_m((features - self.mean).mul_(INPUT_SCALE / self.scale))
        return out


class AlignmentModel(nn.Module):
    """Both sides of the score, and the score."""

    def __init__(self, feature_dim: int, vocabulary_size: int, config: AlignmentModelConfig) -> None:
        super().__init__()
        self.config, self.feature_dim, self.vocabulary_size = config, feature_dim, vocabulary_size
        self.regions = RegionProjection(feature_dim, config)
        self.sentences: nn.Module = LanguageWords(config)
        if config.text != "language":
            self.sentences = (BRNN if config.text == "brnn" else BiGRU)(vocabulary_size, config)

    def forward(
        self, features: Tensor, words: Tensor, lengths: Tensor, states: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """features (N, R, D) -> v (N, R, h); sentences (see `Sentences`) -> s (W, h) of the W = Σ lengths words."""
        return self.regions(features), self.sentences(words, lengths, states)

    def score(self, v: Tensor, region_mask: Tensor, s: Tensor, lengths: Tensor) -> Tensor:
        """S (N, M) of images and sentences; arguments as vsalign.alignment.score's."""
        scores = SCORES[self.config.score](v, region_mask, s, lengths)
        sums = self.config.score != "symmetric"
        return scores / lengths.clamp(min=1) if self.config.normalise and sums else scores
