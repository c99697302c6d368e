"""What the MRF adds up, against the definition in loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vsalign.alignment.placing import Placing, expected_overlaps, region_overlaps
from vsalign.boxes import box_iou
from vsalign.errors import ConfigurationError


def random_boxes(images: int, regions: int, seed: int = 0) -> torch.Tensor:
    corners = np.random.default_rng(seed).uniform(0, 9, (images, regions, 2, 2)).astype(np.float32)
    return torch.from_numpy(np.concatenate([corners.min(2), corners.max(2)], 2))


def test_overlaps_are_those_of_box_iou_and_0_without_area() -> None:
    boxes = random_boxes(4, 6)
    boxes[0, 0] = 0
    found = region_overlaps(boxes)
    for own, image in zip(found, boxes.numpy(), strict=True):
        np.testing.assert_allclose(own, box_iou(image, image), atol=1e-6)


def test_a_region_is_liked_by_the_overlap_it_may_expect_with_the_words_own() -> None:
    torch.manual_seed(0)
    products, lengths = torch.randn(3, 5, 4), torch.tensor([5, 1, 3])
    products[1, :, 2:] = -torch.inf
    overlaps = region_overlaps(random_boxes(3, 4))
    placing = Placing(unary="overlap", contrast=0.7, temperature=0.3)

    found = expected_overlaps(placing, products, lengths, overlaps)

    for m, length in enumerate(lengths.tolist()):
        there = [i for i in range(4) if math.isfinite(products[m, 0, i])]
        for t in range(length):
            telling = [
                float(products[m, t, i]) - 0.7 * sum(float(products[m, u, i]) for u in range(length)) / length
                for i in there
            ]
            weights = [math.exp(value / 0.3) for value in telling]
            for i in range(4):
                own = sum(w * float(overlaps[m, j, i]) for w, j in zip(weights, there, strict=True)) / sum(weights)
                assert float(found[m, t, i]) == pytest.approx(own if i in there else -math.inf, abs=1e-5)


def test_auto_goes_by_the_model() -> None:
    paper = Placing().settled(normalised=False)
    assert (paper.unary, paper.beta) == ("products", 1.0)
    assert Placing().settled(normalised=True) == Placing(unary="overlap", beta=0.02)
    assert Placing(unary="products", beta=0.0).settled(normalised=True) == Placing(unary="products", beta=0.0)


@pytest.mark.parametrize(
    "wrong", [{"beta": -1.0}, {"beta": math.nan}, {"beta": math.inf}, {"contrast": 1.5}, {"temperature": 0.0}]
)
def test_what_is_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=f"--{next(iter(wrong))} "):
        Placing(**wrong)
