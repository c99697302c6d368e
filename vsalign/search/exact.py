"""The score of sentences with the images of a block, exactly (vsalign.alignment.score says what it adds up).

A block's regions stand rank by rank: the first of all images, then the second. So the products of a rank with the words
are one matrix product, the best of each word over the ranks is a maximum of whole matrices, and nothing is kept but
that. Images go through in steps whose products stay in the processor's cache; a block keeps one core busy.

`quick_scores` says the same in whole numbers, and by how much it may be wrong at most; who keeps what may be among the
best, and scores that exactly, finds what is found by the exact score alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

STEP_BYTES = 2**20
"""Of products, and of regions as float32, at once. A sentence over 10^5 images took 52, 37, 37 and 42 ms with 2^18,
2^19, 2^20 and 2^21 on two cores."""
COLUMNS = 8
"""Words are filled up to a multiple of so many columns: whole-number products are several times as fast then."""
LARGEST = 127
"""Of an int8, its sign apart."""


class Asked(NamedTuple):
    """What images are scored by."""

    words: Tensor
    """(T, d) float32, by a space's `words`."""
    mean: bool
    """Whether the sum over the words is divided by their number."""
    symmetric: bool
    """Whether the mean over the regions of the best word counts too."""

    @property
    def weight(self) -> float:
        """Of each word."""
        return 1 / len(self.words) if self.mean else 1.0


def scores(regions: Tensor, counts: Tensor | None, asked: Sequence[Asked]) -> Tensor:
    """(n, Q) float32: how well each of n images fits each of Q sentences of a word or more.

    regions: (R, n, d) int8 or float16 of a space; counts: (n,) of them, where those behind repeat the first; None: R.
    """
    words = _columns([each.words for each in asked])
    step = max(1, STEP_BYTES // (4 * max(words.shape)))
    return _in_steps(lambda rank, some: regions[rank, some].float() @ words, regions, counts, asked, step)


def quick_scores(
    regions: Tensor, counts: Tensor | None, asked: Sequence[Asked], longest: float
) -> tuple[Tensor, Tensor]:
    """The same in whole numbers, and (Q,) how much each of a sentence's scores may be off.

    regions: int8; longest: the largest length of a region's vector. A word q is taken for q' = z q8 with q8 of -127 to
    127; |v · q - v · q'| <= |v| |q - q'| by Cauchy and Schwarz, and a maximum or a mean is off by no more.
    """
    rounded, sizes, errors = [], [], []
    for each in asked:
        size = float(each.words.abs().max().clamp(min=torch.finfo(torch.float32).tiny)) / LARGEST
        whole = (each.words / size).round()
        off = (each.words - whole * size).norm(dim=1) * longest
        errors.append(float(off.sum()) * each.weight + each.symmetric * float(off.max()))
        rounded.append(whole.to(torch.int8))
        sizes.append(size)
    words = _columns(rounded)
    step = max(1, STEP_BYTES // (4 * words.shape[1]))
    found = _in_steps(lambda rank, some: torch._int_mm(regions[rank, some], words), regions, counts, asked, step)
    return found * torch.tensor(sizes), torch.tensor(errors)


def is_quick(regions: Tensor) -> bool:
    """Whether whole numbers are faster here: of int8, on a processor that multiplies them many at a time."""
    return regions.dtype == torch.int8 and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _columns(words: Sequence[Tensor]) -> Tensor:
    """(d, Q w): of each sentence its words (T, d) and, up to a common w, its first again."""
    width = -(-max(map(len, words)) // COLUMNS) * COLUMNS
    filled = [torch.cat([each, each[:1].expand(width - len(each), -1)]) for each in words]
    return torch.cat(filled).t().contiguous()


Products = Callable[[int, slice], Tensor]
"""A rank and some images -> (m, Q w), their regions with all words."""


def _in_steps(products: Products, regions: Tensor, counts: Tensor | None, asked: Sequence[Asked], step: int) -> Tensor:
    """(n, Q) float32; step: images at once."""
    ranks, images, _ = regions.shape
    parts = [slice(start, start + step) for start in range(0, images, step)]
    return torch.cat(
        [_of_step(products, ranks, some, None if counts is None else counts[some], asked) for some in parts]
    )


def _of_step(products: Products, ranks: int, some: slice, counts: Tensor | None, asked: Sequence[Asked]) -> Tensor:
    """(m, Q) float32 of some images."""
    best = products(0, some)
    by_sentence = (len(best), len(asked), -1)
    both = torch.tensor([float(each.symmetric) for each in asked])
    of_first = best.view(by_sentence).amax(2) if both.any() else both
    of_regions = of_first.clone()
    for rank in range(1, ranks):
        of_rank = products(rank, some)
        torch.maximum(best, of_rank, out=best)
        if both.any():
            of_regions += of_rank.view(by_sentence).amax(2)
    found = best.float() @ _weights(asked, best.shape[1] // len(asked))
    if both.any():
        found += both * _mean(of_regions, of_first, ranks, counts)
    return found


def _weights(asked: Sequence[Asked], width: int) -> Tensor:
    """(Q width, Q): what each column counts in its sentence; those that fill up nothing."""
    weights = torch.zeros(len(asked), width, len(asked))
    for number, each in enumerate(asked):
        weights[number, : len(each.words), number] = each.weight
    return weights.flatten(0, 1)


def _mean(summed: Tensor, of_first: Tensor, ranks: int, counts: Tensor | None) -> Tensor:
    """(m, Q): the mean of an image's own regions, where those behind repeated the first."""
    if counts is None:
        return summed / ranks
    return (summed - (ranks - counts)[:, None] * of_first) / counts[:, None]
