"""Phrases of a sentence on regions of its image: the chain MRF of the paper (section 3.1.4), solved exactly.

    maximise  Σ_j v_{a_j} · s_j  +  Σ_{j<N} β · 1[a_j = a_{j+1}]        over a_1..a_N in {1..M}

A step either stays or comes from the best label before it, whichever that was (the Potts trick), so a sentence costs
O(N · M); sentences of different length are solved together. A change pays β instead of a stay earning it: that is the
same but for the constant (N - 1) β, and a huge β, infinity too, does not drown the scores in rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vsalign.errors import ConfigurationError


class Segment(NamedTuple):
    """A phrase on a region."""

    start: int
    end: int
    """Words, end exclusive."""
    region: int
    score: float
    """Σ v · s over its words."""


def decode_labels(unary: Tensor, lengths: Tensor, beta: float) -> Tensor:
    """The best labels (M, T) of M sentences; what stands behind a sentence's length is 0.

    unary: (M, T, R) v_i · s_t, -inf where the image has no such region. lengths: (M,).
    Among equally good labellings the one that stays longest, then of the lowest region, is taken.
    Raises ConfigurationError for a beta below 0, for which the trick does not hold, or NaN.
    """
    if not beta >= 0:
        raise ConfigurationError(f"beta is {beta}: give 0 (every word for itself) or more")
    sentences, steps, regions = unary.shape
    if not steps:
        return torch.zeros(sentences, 0, dtype=torch.long, device=unary.device)
    value = unary[:, 0]
    came_from = torch.zeros(sentences, steps, regions, dtype=torch.int32, device=unary.device)
    stay_at = torch.arange(regions, device=unary.device)
    for t in range(1, steps):
        best, label = value.max(1)
        changed = (best - beta)[:, None]
        stays = value >= changed
        came_from[:, t] = torch.where(stays, stay_at, label[:, None])
        reached = unary[:, t] + torch.where(stays, value, changed)
        value = torch.where((t < lengths)[:, None], reached, value)
    label = value.argmax(1)
    labels = torch.zeros(sentences, steps, dtype=torch.long, device=unary.device)
    for t in range(steps - 1, -1, -1):
        inside = t < lengths
        labels[:, t] = torch.where(inside, label, 0)
        label = torch.where(inside, came_from[:, t].gather(1, label[:, None])[:, 0].long(), label)
    return labels


def segments(unary: Tensor, lengths: Tensor, beta: float) -> list[list[Segment]]:
    """The phrases of each sentence, in order; together they hold every word once. Arguments as decode_labels."""
    labels = decode_labels(unary, lengths, beta)
    chosen = unary.gather(2, labels[:, :, None])[:, :, 0].tolist()
    return [
        _runs(label[:length], score)
        for label, score, length in zip(labels.tolist(), chosen, lengths.tolist(), strict=True)
    ]


def _runs(labels: list[int], scores: list[float]) -> list[Segment]:
    cuts = [0, *(j for j in range(1, len(labels)) if labels[j] != labels[j - 1]), len(labels)]
    return [
        Segment(start, end, labels[start], sum(scores[start:end]))
        for start, end in zip(cuts, cuts[1:], strict=False)
        if end > start
    ]
