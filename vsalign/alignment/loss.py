"""The objective over the batches of all workers: gathered, so that negatives come from the global batch."""

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

    def forward(
        self, v: Tensor, region_mask: Tensor, s: Tensor, lengths: Tensor, image_keys: Tensor, text_keys: Tensor
    ) -> Tensor:
        """v (B, R, h), region_mask (B, R), s (W, h), lengths (B,); image_keys, text_keys (B,) equal for equal ones."""
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            v, s = gather_padded(v, with_gradient=True), gather_rows(s)
            region_mask = gather_padded(region_mask, with_gradient=False)
            lengths, image_keys, text_keys = (
                gather_padded(values, with_gradient=False) for values in (lengths, image_keys, text_keys)
            )
        return self.objective(self.score(v, region_mask, s, lengths), negative_pairs(image_keys, text_keys))


def gather_rows(rows: Tensor) -> Tensor:
    """All workers' rows (n_r, h), which differ in number, one below the other, with gradients to their owners."""
    count = torch.tensor([len(rows)], device=rows.device)
    counts = gather_padded(count, with_gradient=False).tolist()
    padded = nn.functional.pad(rows, (0, 0, 0, max(counts) - len(rows)))
    parts = gather_padded(padded, with_gradient=True).split(max(counts))
    return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])


def gather_padded(values: Tensor, *, with_gradient: bool) -> Tensor:
    """All workers' tensors along dim 0; in dim 1 (regions), where theirs differ, zeros fill the shorter ones."""
    if values.ndim > 1:
        width = torch.tensor([values.shape[1]], device=values.device)
        dist.all_reduce(width, op=dist.ReduceOp.MAX)
        missing = int(width) - values.shape[1]
        if missing:
            fill = [0, 0] * (values.ndim - 2) + [0, missing]
            values = nn.functional.pad(values, fill)
    return _Gather.apply(values) if with_gradient else _all_gather(values)


def _all_gather(values: Tensor) -> Tensor:
    as_bytes = values.to(torch.uint8) if values.dtype == torch.bool else values
    parts = [torch.empty_like(as_bytes) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, as_bytes.contiguous())
    return torch.cat(parts).to(values.dtype)


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
