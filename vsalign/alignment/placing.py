"""How the words of a sentence find their regions: what the MRF (vsalign.alignment.segment) adds up for each.

products  v_i · s_t, as in the paper
overlap   the IoU that region i may expect to have with the region which word t speaks of:

              u_t(i) = Σ_j p_t(j) IoU(i, j),      p_t = softmax over regions of (v_j · s_t − λ mean_t' v_j · s_t') / τ

          What all words of a sentence like alike, the whole picture above all, tells nothing of one of them, so λ of it
          is taken off; and among regions that are as likely the one that overlaps the others is meant: the decision of
          least expected loss. Measured in docs/results.md.

A phrase's box need be none of the regions: `MeanBoxes` reads it from the scores of all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vsalign.errors import ConfigurationError

BETAS = {"products": 1.0, "overlap": 0.02}
"""What is taken where nobody says. overlap's was chosen by grounding on Flickr8k's tune split, products' is a guess."""


@dataclass(frozen=True, kw_only=True)
class Placing:
    """How words are put on regions."""

    unary: Literal["auto", "products", "overlap"] = "auto"
    """products: a word likes a region by their product (the paper's). overlap: by the IoU that the region may expect
    with the word's own. auto: overlap for a model of --model.normalise, whose products it is tuned for."""
    beta: float | None = None
    """What two neighbouring words on the same region earn (the paper's β): 0, every word for itself; the larger, the
    longer the phrases. Left out: 0.02 for overlap, 1 for products."""
    contrast: float = 0.6
    """Of overlap: the share of what the whole sentence likes that is taken off each word."""
    temperature: float = 0.1
    """Of overlap: the smaller, the surer a word is of its region."""

    def __post_init__(self) -> None:
        if self.beta is not None and not 0 <= self.beta < math.inf:
            raise ConfigurationError(f"--beta {self.beta}: give 0 (every word for itself) or more")
        if not 0 <= self.contrast <= 1 or not 0 < self.temperature < math.inf:
            raise ConfigurationError(
                f"--contrast {self.contrast}, --temperature {self.temperature}: 0 to 1, and more than 0"
            )

    def settled(self, *, normalised: bool) -> Placing:
        """The same with unary and beta named, for a model whose products are cosines or not."""
        unary = self.unary if self.unary != "auto" else "overlap" if normalised else "products"
        beta = BETAS[unary] if self.beta is None else self.beta
        return Placing(unary=unary, beta=beta, contrast=self.contrast, temperature=self.temperature)


@dataclass(frozen=True, kw_only=True)
class MeanBoxes:
    """The mean of all regions' boxes, each as likely as its products with the phrase say.

        Σ_j p(j) box_j,    p = softmax over regions of (mean_t v_j · s_t − λ mean_t' v_j · s_t') / τ + γ log area_j

    t: the phrase's words, t': the sentence's; the area as a share of the picture's. Small, telling boxes (a face, a
    wheel) surround what they belong to, so their mean is on it. Chosen on Flickr8k's tune split: docs/results.md.
    """

    contrast: float = 0.4
    """λ: the share of what the whole sentence likes that is taken off."""
    temperature: float = 0.025
    """τ: the smaller, the fewer regions count."""
    size: float = 0.3
    """γ: how much likelier large regions are beforehand."""

    def __post_init__(self) -> None:
        if not 0 <= self.contrast <= 1 or not 0 < self.temperature < math.inf or not 0 <= self.size < math.inf:
            raise ConfigurationError(
                f"contrast {self.contrast}, temperature {self.temperature}, size {self.size}: 0 to 1, more than 0, and "
                "0 or more"
            )

    def boxes(self, phrases: Tensor, sentences: Tensor, boxes: Tensor) -> Tensor:
        """(P, 4) of P phrases; phrases, sentences (P, R): the mean products of their words, -inf where no region is.

        boxes: (P, R, 4) xyxy px, row 0 the whole picture.
        """
        absent = phrases == -torch.inf
        telling = phrases.masked_fill(absent, 0) - self.contrast * sentences.masked_fill(absent, 0)
        area = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
        smallest = torch.finfo(area.dtype).tiny
        sizes = (area / area[:, :1].clamp(min=smallest)).clamp(min=smallest).log()
        likely = (telling / self.temperature + self.size * sizes).masked_fill(absent, -torch.inf).softmax(1)
        return (likely[:, None] @ boxes)[:, 0]


def expected_overlaps(placing: Placing, products: Tensor, lengths: Tensor, overlaps: Tensor) -> Tensor:
    """(M, T, R): u_t(i) for the words of M sentences; -inf where there is no region.

    products: (M, T, R) v_i · s_t, -inf where there is no region. lengths: (M,) words of each.
    overlaps: (M, R, R) IoU of the regions.
    """
    absent = products[:, :1] == -torch.inf
    likings = products.masked_fill(absent, 0)
    inside = torch.arange(products.shape[1], device=products.device) < lengths[:, None]
    of_sentence = (likings * inside[:, :, None]).sum(1, keepdim=True) / lengths.clamp(min=1)[:, None, None]
    telling = (likings - placing.contrast * of_sentence).masked_fill(absent, -torch.inf)
    return ((telling / placing.temperature).softmax(2) @ overlaps).masked_fill(absent, -torch.inf)


def region_overlaps(boxes: Tensor) -> Tensor:
    """(N, R, R): the IoU of boxes (N, R, 4) xyxy with each other; 0, never NaN, for boxes without area."""
    low = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    common = (high - low).clamp(min=0).prod(3)
    area = (boxes[:, :, 2:] - boxes[:, :, :2]).clamp(min=0).prod(2)
    union = area[:, :, None] + area[:, None, :] - common
    return torch.where(union > 0, common / union.clamp(min=torch.finfo(boxes.dtype).tiny), 0)
