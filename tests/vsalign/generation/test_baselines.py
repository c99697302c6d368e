"""The nearest-neighbour baseline against a plain loop."""

from __future__ import annotations

import pytest
import torch

from vsalign.generation import baselines
from vsalign.generation.baselines import nearest, nearest_captions


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_nearest_is_the_reference_with_the_highest_cosine(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(baselines, "BLOCK", block)
    queries, references = torch.randn(7, 4), torch.randn(11, 4) * torch.arange(1, 12)[:, None]
    expected = [
        max(range(11), key=lambda n: float(torch.cosine_similarity(query, references[n], dim=0))) for query in queries
    ]

    assert nearest(queries, references).tolist() == expected


def test_the_first_caption_of_the_nearest_image_is_copied() -> None:
    references = torch.eye(3)
    queries = torch.tensor([[0.1, 0.0, 5.0], [9.0, 1.0, 0.0]])

    copied = nearest_captions(queries, references, [["a dog", "a cat"], ["a bird"], ["two boats", "a boat"]])

    assert copied == ["two boats", "a dog"]
    assert nearest_captions(queries[:0], references, [["a"], ["b"], ["c"]]) == []
