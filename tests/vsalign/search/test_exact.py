"""Scores of a block: as the model's, and in whole numbers off by no more than is said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from vsalign.alignment.score import score, symmetric
from vsalign.search import exact
from vsalign.search.exact import Asked, quick_scores, scores

LENGTHS = [1, 3, 8, 9, 20]


def block(images: int, ranks: int, dim: int, *, ragged: bool) -> tuple[Tensor, Tensor | None]:
    """Random int8 regions rank by rank, and how many of them each image has."""
    random = torch.Generator().manual_seed(images)
    regions = torch.randint(-127, 128, (ranks, images, dim), dtype=torch.int8, generator=random)
    if not ragged:
        return regions, None
    counts = torch.randint(1, ranks + 1, (images,), generator=random)
    behind = torch.arange(ranks)[:, None] >= counts
    return torch.where(behind[:, :, None], regions[:1], regions), counts


def sentences(dim: int, *, mean: bool, both: bool) -> list[Asked]:
    random = torch.Generator().manual_seed(5)
    return [Asked(torch.randn(length, dim, generator=random) / 90, mean, both) for length in LENGTHS]


def of_the_model(regions: Tensor, counts: Tensor | None, asked: Asked) -> Tensor:
    """What vsalign.alignment.score says of one sentence."""
    v = regions.transpose(0, 1).float()
    mask = torch.ones(v.shape[:2], dtype=torch.bool)
    if counts is not None:
        mask = torch.arange(v.shape[1]) < counts[:, None]
    lengths = torch.tensor([len(asked.words)])
    if asked.symmetric:
        return symmetric(v, mask, asked.words, lengths)[:, 0]
    found = score(v, mask, asked.words, lengths)[:, 0]
    return found / len(asked.words) if asked.mean else found


@pytest.mark.parametrize("ragged", [True, False])
@pytest.mark.parametrize(("mean", "both"), [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("way", [scores, quick_scores])
def test_a_block_s_scores_are_the_model_s(way: Callable[..., object], ragged: bool, mean: bool, both: bool) -> None:
    regions, counts = block(700, 6, 32, ragged=ragged)
    asked = sentences(32, mean=mean, both=both)
    expected = torch.stack([of_the_model(regions, counts, each) for each in asked], 1)
    if way is scores:
        np.testing.assert_allclose(scores(regions, counts, asked), expected, rtol=1e-4, atol=1e-4)
        return
    longest = float(regions.float().norm(dim=2).max())
    found, errors = quick_scores(regions, counts, asked, longest)
    off = (found - expected).abs()
    assert (off <= errors + 1e-4).all()
    assert (off.amax(0) > 0).all() and (errors < 0.2 * expected.std(0) * 6).all(), "it says something"


def test_steps_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    regions, counts = block(1000, 4, 16, ragged=True)
    asked = sentences(16, mean=True, both=True)
    whole = scores(regions, counts, asked)
    monkeypatch.setattr(exact, "STEP_BYTES", 4 * 45 * 7)
    np.testing.assert_allclose(scores(regions, counts, asked), whole, rtol=1e-5, atol=1e-5)


def test_one_image_of_one_region() -> None:
    regions = torch.tensor([[[3, -4]]], dtype=torch.int8)
    asked = Asked(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), mean=True, symmetric=True)
    assert scores(regions, None, [asked]).item() == pytest.approx((3 - 4) / 2 + 3)
