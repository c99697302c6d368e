"""The image-sentence score, S_kl = Σ_{t in sentence l} max_{i in image k} v_i · s_t (paper, equation 8).

The products of all regions with all words are never kept: the forward pass goes through blocks of images and keeps,
for each image and word, the maximum and which region won; the backward pass needs no more than that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK_BYTES = 64 * 2**20
"""Products that are in memory at once: the block of images is as large as this allows."""


def score(v: Tensor, region_mask: Tensor, s: Tensor, lengths: Tensor) -> Tensor:
    """S (N, M) of N images and M sentences.

    v: (N, R, h) regions; region_mask: (N, R), False where there is no region; every image has at least one.
    s: (W, h) words, sentence by sentence; lengths: (M,) words of each, W in all. An empty sentence scores 0.
    """
    sentence = torch.repeat_interleave(torch.arange(len(lengths), device=s.device), lengths)
    best = _BestRegion.apply(v, region_mask, s)
    return best.new_zeros(best.shape[0], len(lengths)).index_add(1, sentence, best)


class _BestRegion(torch.autograd.Function):
    """(N, W): for each image and word, max_i v_i · s_t; gradients go to the winning region alone."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, region_mask: Tensor, words: Tensor) -> Tensor:
        images, regions, _ = v.shape
        best = v.new_empty(images, len(words))
        # A byte holds the region's number for all detectors that we know; boxes of one's own may be more.
        winner = torch.empty(images, len(words), dtype=torch.uint8 if regions <= 256 else torch.int32, device=v.device)
        block = max(1, BLOCK_BYTES // max(1, regions * len(words) * v.element_size()))
        whole = bool(region_mask.all())
        for start in range(0, images, block):
            chosen = slice(start, start + block)
            products = (v[chosen].flatten(0, 1) @ words.t()).unflatten(0, (-1, regions))
            if not whole:
                products.masked_fill_(~region_mask[chosen, :, None], -torch.inf)
            values, index = products.max(1)
            best[chosen], winner[chosen] = values, index.to(winner.dtype)
        ctx.save_for_backward(v, words, winner)
        return best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        v, words, winner = ctx.saved_tensors
        (gradient,) = gradients
        images, regions, h = v.shape
        # Most pairs lie within the margin: only images and words with a gradient take part.
        image, word = gradient.nonzero(as_tuple=True)
        weight = gradient[image, word]
        row = image * regions + winner[image, word].long()
        grad_v = grad_words = None
        if ctx.needs_input_grad[0]:
            grad_v = _sparse_product(row, word, weight, (images * regions, len(words)), words).view_as(v)
        if ctx.needs_input_grad[2]:
            grad_words = _sparse_product(word, row, weight, (len(words), images * regions), v.flatten(0, 1))
        return grad_v, None, grad_words


def _sparse_product(row: Tensor, column: Tensor, weight: Tensor, shape: tuple[int, int], dense: Tensor) -> Tensor:
    """The product of a sparse (rows, columns) matrix, given by its entries, with a dense (columns, h) one."""
    matrix = torch.sparse_coo_tensor(torch.stack([row, column]), weight, shape, check_invariants=False)
    return matrix.coalesce() @ dense
