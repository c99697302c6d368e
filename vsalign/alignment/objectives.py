"""What a matrix of scores costs: image k belongs to sentence k, and the other pairs are wrong where they may be.

All take scores (B, B), image k against sentence l, and negatives (B, B) bool, True where (k, l) is a false pair
(`negative_pairs`); without any negative they cost 0, not NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def negative_pairs(image_keys: Tensor, text_keys: Tensor) -> Tensor:
    """(B, B) bool: True where image k and sentence l are of different images and of different texts."""
    return (image_keys[:, None] != image_keys[None, :]) & (text_keys[:, None] != text_keys[None, :])


def max_margin(scores: Tensor, negatives: Tensor, margin: float = 1.0) -> Tensor:
    """The paper's (equation 9): Σ_k [ Σ_l max(0, S_kl − S_kk + 1)  +  Σ_l max(0, S_lk − S_kk + 1) ]."""
    truth = scores.diagonal()
    sentences = (scores - truth[:, None] + margin).clamp(min=0)  # rank the sentences of image k
    images = (scores - truth[None, :] + margin).clamp(min=0)  # rank the images of sentence l
    return ((sentences + images) * negatives).sum()


def hardest_negative(scores: Tensor, negatives: Tensor, margin: float = 0.2) -> Tensor:
    """Σ_k of the hinges of the best-scoring wrong sentence and the best-scoring wrong image alone.

    Faghri et al., "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives" (BMVC 2018). From random weights it
    sticks at 2 B margin, all scores being equal: begin with `max_margin`.
    """
    truth = scores.diagonal()
    wrong = scores.masked_fill(~negatives, -torch.inf)
    sentences = (wrong.amax(1) - truth + margin).clamp(min=0)
    images = (wrong.amax(0) - truth + margin).clamp(min=0)
    return (sentences + images).sum()


def contrastive(scores: Tensor, negatives: Tensor, temperature: float | Tensor = 0.05) -> Tensor:
    """Σ_k of the cross-entropies of picking sentence k for image k, and image k for sentence k (InfoNCE).

    van den Oord et al., "Representation Learning with Contrastive Predictive Coding" (2018). Scores are divided by
    `temperature` first, which wants scores of vectors of length 1.
    """
    target = torch.arange(len(scores), device=scores.device)
    shown = negatives | torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    logits = (scores / temperature).masked_fill(~shown, -torch.inf)
    return cross_entropy(logits, target, reduction="sum") + cross_entropy(logits.t(), target, reduction="sum")
