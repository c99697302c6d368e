"""The objective over the batches of all workers: negatives come from the global batch.

Each worker scores its own images with the sentences of all, which are gathered with gradients, and then all rows of
scores are gathered: the work of the score is shared, and regions never travel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vsalign.alignment.objectives import max_margin, negative_pairs
from vsalign.alignment.score import score


class AlignmentLoss(nn.Module):
    """An objective over a batch of image-sentence pairs: a sum, as in the paper, so that element-wise clipping binds.

    Wrong pairs are those of all workers' batches, but for those that are true pairs too: another caption of the same
    image, or another image with the very same caption. Every worker gets the global loss; DDP's mean over workers then
    is the global loss's gradient.
    """

    def __init__(
        self,
        objective: Callable[[Tensor, Tensor], Tensor] = max_margin,
        score: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = score,
    ) -> None:
        super().__init__()
        self.objective, self.score = objective, score
        self.violating = 0.0

    def forward(
        self, v: Tensor, region_mask: Tensor, s: Tensor, lengths: Tensor, image_keys: Tensor, text_keys: Tensor
    ) -> Tensor:
        """v (B, R, h), region_mask (B, R), s (W, h), lengths (B,); image_keys, text_keys (B,) equal for equal ones.

        B is the same on all workers. `violating` is then the share of wrong pairs that score above their right one.
        """
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if several:
            s = gather_rows(s)
            lengths, image_keys, text_keys = (_all_gather(values) for values in (lengths, image_keys, text_keys))
        scores = self.score(v, region_mask, s, lengths)
        if several:
            scores = gather(scores)
        negatives = negative_pairs(image_keys, text_keys)
        self.violating = violating_share(scores.detach(), negatives)
        return self.objective(scores, negatives)


def violating_share(scores: Tensor, negatives: Tensor) -> float:
    """Of the wrong pairs (k, l) of `negatives` (B, B), those that score above (k, k) or (l, l)."""
    truth = scores.diagonal()
    violating = ((scores > truth[:, None]) | (scores > truth[None, :])) & negatives
    return float(violating.sum() / negatives.sum().clamp(min=1))


def gather_rows(rows: Tensor) -> Tensor:
    """All workers' rows (n_r, h), which differ in number, one below the other, with gradients to their owners."""
    counts = _all_gather(torch.tensor([len(rows)], device=rows.device)).tolist()
    padded = nn.functional.pad(rows, (0, 0, 0, max(counts) - len(rows)))
    parts = gather(padded).split(max(counts))
    return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])


def gather(values: Tensor) -> Tensor:
    """All workers' tensors of one shape along dim 0, with gradients to their owners."""
    found: Tensor = _Gather.apply(values)
    return found


def _all_gather(values: Tensor) -> Tensor:
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """all_gather whose backward gives every worker the sum of all workers' gradients of its own part."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.rows = len(values)
        return _all_gather(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient)
        start = dist.get_rank() * ctx.rows
        return gradient[start : start + ctx.rows]
