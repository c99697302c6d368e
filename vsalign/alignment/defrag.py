"""The score of DeFrag, S_kl = Σ_{t in sentence l} Σ_{i in image k} max(0, v_i · s_t): the paper's baseline.

Karpathy, Joulin and Fei-Fei, "Deep Fragment Embeddings for Bidirectional Image Sentence Mapping" (2014), as the paper
simplifies it (section 3.1.3). Blocks of products are made in the forward pass and again in the backward one; none are
kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vsalign.alignment.score import blocks, sentence_of


def defrag(v: Tensor, region_mask: Tensor, s: Tensor, lengths: Tensor) -> Tensor:
    """S (N, M); arguments as vsalign.alignment.score's."""
    found: Tensor = _DeFrag.apply(v, region_mask, s, sentence_of(lengths), len(lengths))
    return found


class _DeFrag(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, region_mask: Tensor, words: Tensor, sentence: Tensor, sentences: int) -> Tensor:
        ctx.save_for_backward(v, region_mask, words, sentence)
        scores = v.new_zeros(len(v), sentences, dtype=torch.promote_types(v.dtype, torch.float32))
        for images, block in blocks(v, words):
            positive = _products(v[images], region_mask[images], words[block]).clamp_(min=0)
            scores[images].index_add_(1, sentence[block], positive.sum(1, dtype=scores.dtype))
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, None, None]:
        v, region_mask, words, sentence = ctx.saved_tensors
        grad_v, grad_words = torch.zeros_like(v), torch.zeros_like(words)
        for images, block in blocks(v, words):
            positive = _products(v[images], region_mask[images], words[block]) > 0
            weight = (gradients[0][images][:, None, sentence[block]] * positive).flatten(0, 1).to(v.dtype)
            grad_v[images] += (weight @ words[block]).view_as(v[images])
            grad_words[block] += weight.t() @ v[images].flatten(0, 1)
        return grad_v, None, grad_words, None, None


def _products(v: Tensor, region_mask: Tensor, words: Tensor) -> Tensor:
    """(N, R, W): v_i · s_t, 0 where there is no region."""
    return (v.flatten(0, 1) @ words.t()).unflatten(0, v.shape[:2]).masked_fill_(~region_mask[:, :, None], 0)
