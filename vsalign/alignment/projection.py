"""Into the joint space."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vsalign.alignment.config import AlignmentModelConfig
from vsalign.alignment.dropout import Dropout

INPUT_SCALE, OUTPUT_INIT = 0.25, 0.6
"""Scales of the standardised features, and of W_m and W_d at the start.

Measured on Flickr8k's tune split: with them the first scores spread by about the margin. Larger ones make the summed
hinges of a batch diverge under SGD with momentum in the first hundred steps.
"""


class Projection(nn.Linear):
    """W x + b, after dropout; with `residual` and a perceptron of x beside it, with `normalise` of length 1."""

    def __init__(self, dim: int, config: AlignmentModelConfig) -> None:
        super().__init__(dim, config.h)
        self.dropout, self.normalise = Dropout(config.dropout), config.normalise
        rescale(self.weight, OUTPUT_INIT)
        self.beside: nn.Module | None = None
        if config.residual:
            layers = (nn.Linear(dim, config.h), nn.ReLU(), Dropout(config.dropout), nn.Linear(config.h, config.h))
            self.beside = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., h)."""
        x = self.dropout(x)
        out = super().forward(x)
        return unit(out if self.beside is None else out + self.beside(x), self.normalise)


def unit(vectors: Tensor, wanted: bool) -> Tensor:
    """Vectors (..., h) of length 1 where that is wanted; those of length 0 stay."""
    return nn.functional.normalize(vectors, dim=-1) if wanted else vectors


def rescale(weight: Tensor, factor: float) -> None:
    """Multiply a weight in place."""
    with torch.no_grad():
        weight.mul_(factor)
