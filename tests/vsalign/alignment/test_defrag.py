"""DeFrag's score against its definition, and its gradients against autograd's."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor

from tests.vsalign.alignment.test_score import problem
from vsalign.alignment import defrag

SCORE = importlib.import_module("vsalign.alignment.score")  # the package gives the function of that name


def definition(v: Tensor, mask: Tensor, s: Tensor, lengths: Tensor) -> Tensor:
    """Σ_t Σ_i max(0, v_i · s_t), with every product in memory."""
    of_words = ((v @ s.t()).clamp(min=0) * mask[:, :, None]).sum(1)
    return torch.stack([part.sum(1) for part in of_words.split(lengths.tolist(), dim=1)], 1)


@pytest.mark.parametrize(("block_bytes", "block_words"), [(1, 1), (300, 4), (2**24, 2**11)])
def test_score_and_gradients_are_those_of_the_definition(
    monkeypatch: pytest.MonkeyPatch, block_bytes: int, block_words: int
) -> None:
    monkeypatch.setattr(SCORE, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(SCORE, "BLOCK_WORDS", block_words)
    v, mask, s, lengths = problem([3, 1, 5, 2], [4, 0, 1, 7])
    weight = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    measured = []
    for scorer in (definition, defrag):
        leaf_v, leaf_s = v.clone().requires_grad_(), s.clone().requires_grad_()
        scores = scorer(leaf_v, mask, leaf_s, lengths)
        (scores * weight).sum().backward()
        measured.append((scores.detach(), leaf_v.grad, leaf_s.grad))

    torch.testing.assert_close(measured[1], measured[0], rtol=0, atol=1e-12)
    assert (measured[1][1][1, 1:] == 0).all()  # regions that are not there learn nothing


def test_half_precision_is_summed_in_float32() -> None:
    v, mask, s, lengths = problem([20, 7], [300, 12], h=64, dtype=torch.float32)
    v, s = v.bfloat16(), s.bfloat16()

    found = defrag(v, mask, s, lengths)

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, definition(v.float(), mask, s.float(), lengths), rtol=2e-3, atol=0)
