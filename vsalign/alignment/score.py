"""The image-sentence score, S_kl = Σ_{t in sentence l} max_{i in image k} v_i · s_t (paper, equation 8).

The products of all regions with all words are never kept: the forward pass goes through blocks of images and words,
takes each block's maxima and sums them by sentence; where gradients are wanted it keeps which region won, one byte for
an image and a word, and the backward pass needs no more than that.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")  # torch says so once a process

BLOCK_BYTES = 16 * 2**20
"""Products that are in memory at once: on a CPU a third faster than 64 MB, which no cache holds."""
BLOCK_WORDS = 2048
"""Words of a block, at most."""
BLOCK_ENTRIES = 2**18
"""Pairs of an image and a word whose gradients are spread at once: some 40 bytes each."""


def score(v: Tensor, region_mask: Tensor, s: Tensor, lengths: Tensor) -> Tensor:
    """S (N, M) of N images and M sentences, in float32 where v and s are less precise.

    v: (N, R, h) regions; region_mask: (N, R), False where there is no region; every image has at least one.
    s: (W, h) words, sentence by sentence; lengths: (M,) words of each, W in all. An empty sentence scores 0.
    """
    sentence = sentence_of(lengths)
    if torch.is_grad_enabled() and (v.requires_grad or s.requires_grad):
        found: Tensor = _Score.apply(v, region_mask, s, sentence, len(lengths))
        return found
    return _forward(v, region_mask, s, sentence, len(lengths), None)


def symmetric(v: Tensor, region_mask: Tensor, s: Tensor, lengths: Tensor) -> Tensor:
    """S (N, M): the mean over words of the best region's product and the mean over regions of the best word's.

    Arguments as `score`'s; an empty sentence scores 0. Beyond the paper: a region that no word speaks of counts against
    a sentence too. Measured in docs/results.md.
    """
    counts = region_mask.sum(1)
    steps = torch.arange(int(lengths.max()) if len(lengths) else 0, device=s.device)
    word_mask = steps < lengths[:, None]
    places = word_mask.flatten().nonzero().squeeze(1)
    words = s.new_zeros(word_mask.numel(), s.shape[1]).index_copy(0, places, s).view(*word_mask.shape, -1)
    of_words = score(v, region_mask, s, lengths) / lengths.clamp(min=1)
    some = lengths > 0
    of_regions = of_words.new_zeros(len(lengths), len(v))
    of_regions[some] = score(words[some], word_mask[some], v[region_mask], counts) / counts
    return of_words + of_regions.t()


def sentence_of(lengths: Tensor) -> Tensor:
    """(W,): the sentence of each word, for the lengths (M,) of sentences that stand one behind the other."""
    return torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)


def _forward(
    v: Tensor, region_mask: Tensor, words: Tensor, sentence: Tensor, sentences: int, winner: Tensor | None
) -> Tensor:
    """S (N, M); puts the winning regions into `winner` (N, W) where it is given."""
    scores = v.new_zeros(len(v), sentences, dtype=torch.promote_types(v.dtype, torch.float32))
    whole = bool(region_mask.all())
    for images, block in blocks(v, words):
        products = (v[images].flatten(0, 1) @ words[block].t()).unflatten(0, (-1, v.shape[1]))
        if not whole:
            products.masked_fill_(~region_mask[images, :, None], -torch.inf)
        if winner is None:
            best = products.amax(1)
        else:
            best, index = products.max(1)
            winner[images, block] = index.to(winner.dtype)
        scores[images].index_add_(1, sentence[block], best.to(scores.dtype))
    return scores


def blocks(v: Tensor, words: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of images and of words whose products take BLOCK_BYTES, or are those of one image."""
    images, regions, _ = v.shape
    width = max(1, min(BLOCK_WORDS, len(words)))
    height = max(1, BLOCK_BYTES // max(1, regions * width * v.element_size()))
    for start in range(0, images, height):
        for first in range(0, len(words), width):
            yield slice(start, start + height), slice(first, first + width)


class _Score(torch.autograd.Function):
    """`score` with gradients, which go to the winning regions alone."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, region_mask: Tensor, words: Tensor, sentence: Tensor, sentences: int) -> Tensor:
        # A byte holds the region's number for all detectors that we know; boxes of one's own may be more.
        kind = torch.uint8 if v.shape[1] <= 256 else torch.int32
        winner = torch.empty(len(v), len(words), dtype=kind, device=v.device)
        scores = _forward(v, region_mask, words, sentence, sentences, winner)
        ctx.save_for_backward(v, words, sentence, winner)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, Tensor | None, None, None]:
        v, words, sentence, winner = ctx.saved_tensors
        exact = torch.promote_types(v.dtype, torch.float32)
        grad_v, grad_words = torch.empty_like(v), words.new_zeros(words.shape, dtype=exact)
        rows = max(1, BLOCK_ENTRIES // max(1, len(words)))
        for start in range(0, len(v), rows):
            images = slice(start, start + rows)
            gradient = gradients[0][images].index_select(1, sentence).to(exact)
            of_regions, of_words = _winners(winner[images], gradient, v.shape[1])
            grad_v[images] = (of_regions @ words.to(exact)).view_as(v[images])
            grad_words += of_words @ v[images].flatten(0, 1).to(exact)
        return grad_v, None, grad_words.to(words.dtype), None, None


def _winners(winner: Tensor, gradient: Tensor, regions: int) -> tuple[Tensor, Tensor]:
    """The gradients (n, W) of the products of each image's winning regions (n, W) with the words, as sparse matrices.

    (n R, W) and its transpose (W, n R), in rows that are made without a search: a word has an entry in each image, and
    an image's words need only be sorted by their regions. As dense ones they would be R times the work.
    """
    images, words = winner.shape
    first = regions * torch.arange(images, dtype=torch.int32, device=winner.device)[:, None]
    region, word = winner.sort(dim=1, stable=True)
    counts = torch.bincount((region.int() + first).flatten(), minlength=images * regions)
    ends = torch.nn.functional.pad(counts.cumsum(0), (1, 0)).int()
    shape = images * regions, words
    by_region = _sparse(ends, word.int().flatten(), gradient.gather(1, word).flatten(), shape)
    ends = images * torch.arange(words + 1, dtype=torch.int32, device=winner.device)
    by_word = _sparse(ends, (winner.int() + first).t().flatten(), gradient.t().flatten(), shape[::-1])
    return by_region, by_word


def _sparse(ends: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """A sparse matrix in compressed rows."""
    return torch.sparse_csr_tensor(ends, columns, values, shape, check_invariants=False)
