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
from vsalign.search.regions import Regions

LENGTHS = [1, 3, 8, 9, 20]


def block(images: int, ranks: int, dim: int, *, ragged: bool) -> Regions:
    """Random int8 regions."""
    random = torch.Generator().manual_seed(images)
    counts = torch.full((images,), ranks)
    if ragged:
        counts = torch.randint(1, ranks + 1, (images,), generator=random)
    rows = torch.randint(-127, 128, (int(counts.sum()), dim), dtype=torch.int8, generator=random)
    return Regions.of_rows(rows, counts)


def sentences(dim: int, *, mean: bool, both: bool) -> list[Asked]:
    random = torch.Generator().manual_seed(5)
    return [Asked(torch.randn(length, dim, generator=random) / 90, mean, both) for length in LENGTHS]


def of_the_model(regions: Regions, asked: Asked) -> Tensor:
    """What vsalign.alignment.score says of one sentence."""
    v = regions.rows(torch.arange(regions.images)).float()
    mask = torch.arange(v.shape[1]) < regions.own()[:, None]
    lengths = torch.tensor([len(asked.words)])
    if asked.symmetric:
        return symmetric(v, mask, asked.words, lengths)[:, 0]
    found = score(v, mask, asked.words, lengths)[:, 0]
    return found / len(asked.words) if asked.mean else found


@pytest.mark.parametrize("tile_rows", [1, 300, 2**14])
@pytest.mark.parametrize("ragged", [True, False])
@pytest.mark.parametrize(("mean", "both"), [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("way", [scores, quick_scores])
def test_a_block_s_scores_are_the_model_s(
    way: Callable[..., object], ragged: bool, mean: bool, both: bool, tile_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vsalign.search.regions.TILE_ROWS", tile_rows)
    regions = block(700, 6, 32, ragged=ragged)
    asked = sentences(32, mean=mean, both=both)
    expected = torch.stack([of_the_model(regions, each) for each in asked], 1)
    if way is scores:
        np.testing.assert_allclose(scores(regions, asked), expected, rtol=1e-4, atol=1e-4)
        return
    longest = float(regions.tiles.float().norm(dim=3).max())
    found, errors = quick_scores(regions, asked, longest)
    off = (found - expected).abs()
    assert (off <= errors + 1e-4).all()
    assert (off.amax(0) > 0).all() and (errors < 0.2 * expected.std(0) * 6).all(), "it says something"


def test_steps_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    regions = block(1000, 4, 16, ragged=True)
    asked = sentences(16, mean=True, both=True)
    whole = scores(regions, asked)
    monkeypatch.setattr(exact, "STEP_BYTES", 4 * 45 * 7)
    np.testing.assert_allclose(scores(regions, asked), whole, rtol=1e-5, atol=1e-5)


def test_some_images_and_images_of_several_blocks_keep_their_regions() -> None:
    blocks = [block(50, 4, 8, ragged=True), block(30, 6, 8, ragged=True)]
    chosen = [torch.tensor([0, 7, 8, 49]), torch.tensor([29])]
    joined = Regions.joined([each.some(images) for each, images in zip(blocks, chosen, strict=True)])
    asked = sentences(8, mean=True, both=True)
    of_each = [scores(each, asked)[images] for each, images in zip(blocks, chosen, strict=True)]
    np.testing.assert_allclose(scores(joined, asked), torch.cat(of_each), rtol=1e-5, atol=1e-5)


def test_one_image_of_one_region() -> None:
    regions = Regions.of_rows(torch.tensor([[3, -4]], dtype=torch.int8), torch.tensor([1]))
    asked = Asked(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), mean=True, symmetric=True)
    assert scores(regions, [asked]).item() == pytest.approx((3 - 4) / 2 + 3)
