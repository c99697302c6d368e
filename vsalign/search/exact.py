"""The score of sentences with images, exactly (vsalign.alignment.score says what it adds up).

`quick_scores` says the same in whole numbers, and by how much it may be wrong at most; who keeps what may be among the
best, and scores that exactly, finds what is found by the exact score alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vsalign.search.regions import Regions

STEP_BYTES = 2**20
"""Of products, and of regions as float32, at once, if that is a tile or more."""
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


def scores(regions: Regions, asked: Sequence[Asked]) -> Tensor:
    """(n, Q) float32: how well each of n images fits each of Q sentences of a word or more."""
    words = _columns([each.words for each in asked])
    return _in_steps(lambda rows: rows.float() @ words, regions, asked, 4 * max(words.shape))


def quick_scores(regions: Regions, asked: Sequence[Asked], longest: float) -> tuple[Tensor, Tensor]:
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
    held = torch.empty(0, words.shape[1], dtype=torch.int32)

    def products(rows: Tensor) -> Tensor:
        nonlocal held
        held = held if len(held) == len(rows) else held.new_empty(len(rows), words.shape[1])
        return torch._int_mm(rows, words, out=held)

    found = _in_steps(products, regions, asked, 4 * words.shape[1])
    return found * torch.tensor(sizes), torch.tensor(errors)


def is_quick(regions: Regions) -> bool:
    """Whether whole numbers are faster here: of int8, on a processor that multiplies them many at a time."""
    return regions.tiles.dtype == torch.int8 and torch.backends.cpu.get_cpu_capability() == "AVX512"


def _columns(words: Sequence[Tensor]) -> Tensor:
    """(d, Q w): of each sentence its words (T, d) and, up to a common w, its first again."""
    width = -(-max(map(len, words)) // COLUMNS) * COLUMNS
    filled = [torch.cat([each, each[:1].expand(width - len(each), -1)]) for each in words]
    return torch.cat(filled).t().contiguous()


def _in_steps(products: Callable[[Tensor], Tensor], regions: Regions, asked: Sequence[Asked], row_bytes: int) -> Tensor:
    """(n, Q) float32; products: regions (r, d) -> (r, Q w), theirs with all words; row_bytes: that a region takes."""
    _, ranks, each, dim = regions.tiles.shape
    both = any(sentence.symmetric for sentence in asked)
    best, summed, firsts = [], [], []
    for tiles in regions.tiles.split(max(1, STEP_BYTES // (row_bytes * ranks * each))):
        of_words = products(tiles.view(-1, dim)).view(len(tiles), ranks, each, len(asked), -1)
        best.append(of_words.amax(1).flatten(0, 1))
        if both:
            of_regions = of_words.amax(4)
            summed.append(of_regions.sum(1, dtype=of_regions.dtype).flatten(0, 1))
            firsts.append(of_regions[:, 0].flatten(0, 1))
    own = slice(regions.images)
    found = torch.cat(best)[own].float().flatten(1) @ _weights(asked, best[0].shape[2])
    if both:
        counted = torch.tensor([float(sentence.symmetric) for sentence in asked])
        found += counted * _mean(torch.cat(summed)[own], torch.cat(firsts)[own], regions)
    return found


def _weights(asked: Sequence[Asked], width: int) -> Tensor:
    """(Q width, Q): what each column counts in its sentence; those that fill up nothing."""
    weights = torch.zeros(len(asked), width, len(asked))
    for number, each in enumerate(asked):
        weights[number, : len(each.words), number] = each.weight
    return weights.flatten(0, 1)


def _mean(summed: Tensor, firsts: Tensor, regions: Regions) -> Tensor:
    """(n, Q): of an image's own regions, from sums over R of which those behind repeat the first."""
    if regions.counts is None:
        return summed / regions.ranks
    behind = regions.ranks - regions.counts
    return (summed - behind[:, None] * firsts) / regions.counts[:, None]
