"""The nearest-neighbour baseline: the caption of the training image with the most similar feature (paper, 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 1024
"""Query images compared at once: 1024 x the training images of float32 similarities in memory."""


def nearest(queries: Tensor, references: Tensor) -> Tensor:
    """The index (Q,) of the reference (N, D) with the highest cosine similarity to each query (Q, D)."""
    unit = torch.nn.functional.normalize(references.float(), dim=1).t()
    parts = [
        (torch.nn.functional.normalize(queries[start : start + BLOCK].float(), dim=1) @ unit).argmax(1)
        for start in range(0, len(queries), BLOCK)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)


def nearest_captions(queries: Tensor, references: Tensor, captions: Sequence[Sequence[str]]) -> list[str]:
    """For each query the first caption of its nearest reference; captions: those of each reference, at least one."""
    return [captions[index][0] for index in nearest(queries, references).tolist()]
