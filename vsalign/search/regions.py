"""The regions of some images in memory, in the order in which they are scored.

They lie in tiles of m images. In a tile the first region of all its images comes first, then the second; so a tile and
the words make one matrix product, small enough for the processor's cache, and the best over an image's regions is a
maximum of whole matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TILE_ROWS = 2**13
"""Regions of a tile at most. With 2^10, 2^11, 2^12, 2^13 and 20,480 of them 98,000 images of 20 regions took a sentence
32, 32, 32, 32 and 31 ms on two cores, and sixteen sentences together 365, 331, 321, 320 and 392 ms."""


@dataclass(frozen=True)
class Regions:
    """Regions of n images, R of each: behind an image's own stands its first again."""

    tiles: Tensor
    """(S, R, m, d) int8 or float16, S m >= n: the last tile is filled up with the last image."""
    counts: Tensor | None
    """(n,) of each image's own; None: R of all."""
    images: int
    """n."""

    @staticmethod
    def of_rows(rows: Tensor, counts: Tensor) -> Regions:
        """From the regions (Σ counts, d) of one image or more, one after the other; counts: (n,), 1 or more."""
        ranks = int(counts.max())
        each = max(1, min(TILE_ROWS // ranks, len(counts)))
        images = torch.arange(-(-len(counts) // each) * each).clamp(max=len(counts) - 1).view(-1, 1, each)
        firsts = counts.cumsum(0) - counts
        behind_first = torch.arange(ranks)[:, None]
        taken = firsts[images] + behind_first * (behind_first < counts[images])
        tiles = rows.index_select(0, taken.flatten()).view(*taken.shape, rows.shape[1])
        return Regions(tiles, None if bool((counts == ranks).all()) else counts, len(counts))

    @property
    def ranks(self) -> int:
        """R."""
        return self.tiles.shape[1]

    def own(self) -> Tensor:
        """(n,): how many each image has."""
        return torch.full((self.images,), self.ranks) if self.counts is None else self.counts

    def rows(self, images: Tensor) -> Tensor:
        """(k, R, d): those of some images, by place."""
        _, ranks, each, dim = self.tiles.shape
        first = images // each * (ranks * each) + images % each
        taken = first[:, None] + each * torch.arange(ranks)
        return self.tiles.view(-1, dim).index_select(0, taken.flatten()).view(len(images), ranks, dim)

    def some(self, images: Tensor) -> Regions:
        """Of some images, by place; each is a tile."""
        counts = None if self.counts is None else self.counts[images]
        return Regions(self.rows(images).unsqueeze(2), counts, len(images))

    @staticmethod
    def joined(parts: Sequence[Regions]) -> Regions:
        """Of images one after the other, of which each is a tile."""
        ranks = max(part.ranks for part in parts)
        tiles = [part.tiles if part.ranks == ranks else _up_to(ranks, part.tiles) for part in parts]
        counts = torch.cat([part.own() for part in parts])
        return Regions(torch.cat(tiles), None if bool((counts == ranks).all()) else counts, len(counts))


def _up_to(ranks: int, tiles: Tensor) -> Tensor:
    """Tiles of so many regions an image, of fewer."""
    return torch.cat([tiles, tiles[:, :1].expand(-1, ranks - tiles.shape[1], -1, -1)], 1)
