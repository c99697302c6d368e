"""The score of sentences with the images of a block, exactly (vsalign.alignment.score says what it adds up).

A block's regions stand rank by rank: the first of all images, then the second. So the products of a rank with the words
are one matrix product, the best of each word over the ranks is a maximum of whole matrices, and nothing is kept but
that. Images go through in steps whose products stay in the processor's cache, each core its own.

`quick_scores` says the same in whole numbers, and by how much it may be wrong at most; who keeps what may be among the
best, and scores that exactly, finds what is found by the exact score alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from vsalign.regions.extract import torchs_own_threads

STEP_BYTES = 2**18
"""Of products, and of regions as float32, at once: a quarter of a core's second cache. Measured: docs/results.md."""
COLUMNS = 8
"""Words are filled up to a multiple of so many columns: whole-number products are several times as fast then."""
LARGEST = 127


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
    words = torch.cat([each.words for each in asked]).t().contiguous()
    ones = [1.0] * len(asked)
    step = max(1, STEP_BYTES // (4 * max(words.shape)))
    return _in_steps(lambda rank, some: regions[rank, some].float() @ words, regions, counts, asked, ones, step)


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
    words = torch.cat(rounded)
    columns = words.new_zeros(words.shape[1], -(-len(words) // COLUMNS) * COLUMNS)
    columns[:, : len(words)] = words.t()
    step = max(1, STEP_BYTES // (4 * columns.shape[1]))
    found = _in_steps(
        lambda rank, some: torch._int_mm(regions[rank, some], columns), regions, counts, asked, sizes, step
    )
    return found, torch.tensor(errors)


def is_quick(regions: Tensor) -> bool:
    """Whether whole numbers are faster here: of int8, on a processor that multiplies them many at a time."""
    return regions.dtype == torch.int8 and torch.backends.cpu.get_cpu_capability() == "AVX512"


Products = Callable[[int, slice], Tensor]
"""A rank and some images -> (m, W), or more columns, of their regions with all words."""


def _in_steps(
    products: Products,
    regions: Tensor,
    counts: Tensor | None,
    asked: Sequence[Asked],
    sizes: Sequence[float],
    step: int,
) -> Tensor:
    """(n, Q) float32; sizes: what 1 of a product of each sentence is."""
    ranks, images, _ = regions.shape

    def of_step(start: int) -> Tensor:
        some = slice(start, start + step)
        return _of_step(products, ranks, some, None if counts is None else counts[some], asked, sizes)

    return torch.cat(list(_cores(torchs_own_threads()).map(of_step, range(0, images, step))))


@lru_cache(maxsize=1)
def _cores(threads: int) -> ThreadPoolExecutor:
    """A thread a core, in which torch does not look for others."""
    return ThreadPoolExecutor(threads, "search", torch.set_num_threads, (1,))


def _of_step(
    products: Products,
    ranks: int,
    some: slice,
    counts: Tensor | None,
    asked: Sequence[Asked],
    sizes: Sequence[float],
) -> Tensor:
    """(m, Q) float32 of some images."""
    ends = torch.tensor([len(each.words) for each in asked]).cumsum(0).tolist()
    spans = [slice(end - len(each.words), end) for end, each in zip(ends, asked, strict=True)]
    both = [number for number, each in enumerate(asked) if each.symmetric]
    best = products(0, some)
    of_first = {number: best[:, spans[number]].amax(1) for number in both}
    of_regions = {number: values.clone() for number, values in of_first.items()}
    for rank in range(1, ranks):
        of_rank = products(rank, some)
        torch.maximum(best, of_rank, out=best)
        for number in both:
            of_regions[number] += of_rank[:, spans[number]].amax(1)
    found = torch.empty(len(best), len(asked))
    for number, (span, each) in enumerate(zip(spans, asked, strict=True)):
        own = best[:, span].sum(1, dtype=torch.float32) * each.weight
        if each.symmetric:
            own += _mean(of_regions[number], of_first[number], ranks, counts)
        found[:, number] = own * sizes[number]
    return found


def _mean(summed: Tensor, of_first: Tensor, ranks: int, counts: Tensor | None) -> Tensor:
    """(m,): the mean of an image's own regions, where those behind repeated the first."""
    return summed / ranks if counts is None else (summed - (ranks - counts) * of_first) / counts
