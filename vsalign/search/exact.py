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

    def likings(some: slice) -> tuple[Tensor, Tensor]:
        products = regions[:, some].float() @ words
        return products.amax(0), _of_sentences(products, asked)

    return _in_steps(likings, regions, counts, asked, STEP_BYTES // (4 * len(regions) * max(words.shape)))


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

    def likings(some: slice) -> tuple[Tensor, Tensor]:
        best = torch._int_mm(regions[0, some], words)
        of_ranks = [_of_sentences(best, asked)]
        products = torch.empty_like(best)
        for rank in range(1, len(regions)):
            torch._int_mm(regions[rank, some], words, out=products)
            torch.maximum(best, products, out=best)
            of_ranks.append(_of_sentences(products, asked))
        return best, torch.stack(of_ranks)

    found = _in_steps(likings, regions, counts, asked, STEP_BYTES // (4 * words.shape[1]))
    return found * torch.tensor(sizes), torch.tensor(errors)


def is_quick(regions: Tensor) -> bool:
    """Whether whole numbers are faster here: of int8, on a processor that multiplies them many at a time."""
    return regions.dtype == torch.int8 and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _columns(words: Sequence[Tensor]) -> Tensor:
    """(d, Q w): of each sentence its words (T, d) and, up to a common w, its first again."""
    width = -(-max(map(len, words)) // COLUMNS) * COLUMNS
    filled = [torch.cat([each, each[:1].expand(width - len(each), -1)]) for each in words]
    return torch.cat(filled).t().contiguous()


Likings = Callable[[slice], tuple[Tensor, Tensor]]
"""Some images -> (m, Q w) the best product of each word, and (R, m, Q) of each region, its best in each sentence."""


def _of_sentences(products: Tensor, asked: Sequence[Asked]) -> Tensor:
    """(..., Q w) products -> (..., Q): the best of each sentence, or nothing where no sentence is scored by it."""
    by_sentence = products.unflatten(-1, (len(asked), -1))
    return by_sentence.amax(-1) if any(each.symmetric for each in asked) else by_sentence[..., :0, 0]


def _in_steps(likings: Likings, regions: Tensor, counts: Tensor | None, asked: Sequence[Asked], step: int) -> Tensor:
    """(n, Q) float32; step: images at once."""
    step = max(1, step)
    parts = [slice(start, start + step) for start in range(0, regions.shape[1], step)]
    return torch.cat([_scores(*likings(some), None if counts is None else counts[some], asked) for some in parts])


def _scores(best: Tensor, of_regions: Tensor, counts: Tensor | None, asked: Sequence[Asked]) -> Tensor:
    """(m, Q) float32 of what Likings gives."""
    found = best.float() @ _weights(asked, best.shape[1] // len(asked))
    if of_regions.shape[2]:
        found += torch.tensor([float(each.symmetric) for each in asked]) * _mean(of_regions, counts)
    return found


def _weights(asked: Sequence[Asked], width: int) -> Tensor:
    """(Q width, Q): what each column counts in its sentence; those that fill up nothing."""
    weights = torch.zeros(len(asked), width, len(asked))
    for number, each in enumerate(asked):
        weights[number, : len(each.words), number] = each.weight
    return weights.flatten(0, 1)


def _mean(of_regions: Tensor, counts: Tensor | None) -> Tensor:
    """(m, Q): the mean of (R, m, Q) over an image's own regions, where those behind repeat the first."""
    summed = of_regions.sum(0)
    if counts is None:
        return summed / len(of_regions)
    return (summed - (len(of_regions) - counts)[:, None] * of_regions[0]) / counts[:, None]
