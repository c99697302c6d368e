"""The score of sentences with all images of a block, exactly (vsalign.alignment.score says what it adds up).

The products of some images' regions with the words stay in the processor's cache: they are made, both their maxima are
taken, and the next images' take their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

CACHED_BYTES = 2**20
"""Of regions as float32, and of products, that are in memory at once."""


class Asked(NamedTuple):
    """What images are scored by."""

    words: Tensor
    """(T, d) float32, by a space's `words`."""
    mean: bool
    """Whether the sum over the words is divided by their number."""
    symmetric: bool
    """Whether the mean over the regions of the best word counts too."""


def scores(regions: Tensor, counts: Tensor | None, asked: Sequence[Asked]) -> Tensor:
    """(n, Q) float32: how well each of n images fits each of Q sentences of a word or more.

    regions: (n, R, d) int8 or float16 of a space; counts: (n,) of them, where those behind repeat the first; None: R.
    """
    images, most, dim = regions.shape
    words = torch.cat([each.words for each in asked])
    ends = torch.tensor([len(each.words) for each in asked]).cumsum(0).tolist()
    spans = [slice(end - len(each.words), end) for end, each in zip(ends, asked, strict=True)]
    weights = words.new_zeros(len(words), len(asked))
    for number, (span, each) in enumerate(zip(spans, asked, strict=True)):
        weights[span, number] = 1 / len(each.words) if each.mean else 1
    found = words.new_empty(images, len(asked))
    step = max(1, CACHED_BYTES // (4 * most * max(dim, len(words))))
    for start in range(0, images, step):
        some = slice(start, start + step)
        products = (regions[some].float().flatten(0, 1) @ words.t()).unflatten(0, (-1, most))
        found[some] = products.amax(1) @ weights
        for number, (span, each) in enumerate(zip(spans, asked, strict=True)):
            if each.symmetric:
                found[some, number] += _mean(products[:, :, span].amax(2), None if counts is None else counts[some])
    return found


def _mean(of_regions: Tensor, counts: Tensor | None) -> Tensor:
    """(n,): the mean of the first of (n, R) numbers."""
    if counts is None:
        return of_regions.mean(1)
    inside = torch.arange(of_regions.shape[1]) < counts[:, None]
    return (of_regions * inside).sum(1) / counts
