"""Phrases of a sentence on regions of its image: the chain MRF of the paper (section 3.1.4), solved exactly.

    maximise  Σ_j v_{a_j} · s_j  +  Σ_{j<N} β · 1[a_j = a_{j+1}]        over a_1..a_N in {1..M}

A step either stays or comes from the best label before it, whichever that was (the Potts trick), so a sentence costs
O(N · M); sentences of different length are solved together. A change pays β instead of a stay earning it: that is the
same but for the constant (N - 1) β, and a huge β, infinity too, does not drown the scores in rounding.
"""

from __future__ import annotations

from itertools import pairwise
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
    Among equally good labellings: from the end, the lowest region of the last word, then staying where that is as good.
    Raises ConfigurationError for a beta below 0, for which the trick does not hold, or NaN.
    """
    if not beta >= 0:
        raise ConfigurationError(f"beta is {beta}: give 0 (every word for itself) or more")
    sentences, steps, _ = unary.shape
    if not steps:
        return torch.zeros(sentences, 0, dtype=torch.long, device=unary.device)
    # Sentences last, so that each operation runs over them; what stands behind a sentence's end is never read.
    value = unary.permute(1, 2, 0).clone(memory_format=torch.contiguous_format)
    for before, here in pairwise(value):
        here += torch.maximum(before, before.amax(0) - beta)
    short = value.sub_(value.amax(1, keepdim=True))  # of the best region: 0, or below
    best = _first_zero(short)
    last = torch.arange(1, steps + 1, device=unary.device)[:, None] >= lengths
    least = short.new_full((), -beta).where(~last, torch.inf)  # a label that is short by less stays
    labels = [best[-1]]
    for to_best, at_least, best_here in zip(*(each.unbind(0)[-2::-1] for each in (short, least, best)), strict=True):
        stays = to_best.gather(0, labels[-1][None])[0] >= at_least
        labels.append(torch.where(stays, labels[-1], best_here))
    inside = torch.arange(steps, device=unary.device) < lengths[:, None]
    return torch.stack(labels[::-1], 1) * inside


def _first_zero(short: Tensor) -> Tensor:
    """(T, M): the lowest region whose short (T, R, M) <= 0 is 0; many times faster than argmax along a middle axis."""
    regions = short.shape[1]
    ranks = torch.arange(regions, dtype=short.dtype, device=short.device)[:, None]
    return short.sign().mul_(-regions).add_(ranks).amin(1).long()


def segments(unary: Tensor, lengths: Tensor, beta: float, products: Tensor | None = None) -> list[list[Segment]]:
    """The phrases of each sentence, in order; together they hold every word once. Arguments as decode_labels.

    products: (M, T, R) v_i · s_t, where unary is another; the phrases' scores are of them.
    """
    labels = decode_labels(unary, lengths, beta)
    chosen = (unary if products is None else products).gather(2, labels[:, :, None])[:, :, 0].tolist()
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
