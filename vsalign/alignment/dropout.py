"""Dropout that draws fast on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVELS = 256
"""A random byte's."""


class Dropout(nn.Dropout):
    """torch's, but on a CPU a byte decides on each number, so that p is rounded to a 256th.

    torch draws a float each there, by one thread: it was 28 % of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape: some numbers 0, the others larger, so that the mean stays; in training alone."""
        dropped = round(self.p * LEVELS)
        if not self.training or not 0 < dropped < LEVELS or x.device.type != "cpu":
            return super().forward(x)
        eights = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = eights.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
        return x * kept * (LEVELS / (LEVELS - dropped))
