"""vsalign.alignment.dropout."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vsalign.alignment.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_the_share_is_dropped_and_the_mean_stays(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 999)

    out = Dropout(p)(x)

    assert (out == 0).float().mean().item() == pytest.approx(p, abs=0.004)
    assert out.mean().item() == pytest.approx(1, abs=0.004)
    assert len(out.unique()) == 2
    rows = (out == 0).float()
    assert torch.corrcoef(rows[:100]).fill_diagonal_(0).abs().max() < 0.2  # no row repeats another


def test_the_gradient_goes_where_the_number_went() -> None:
    x = torch.ones(7, 5, requires_grad=True)

    out = Dropout(0.5)(x)
    out.sum().backward()

    assert x.grad is not None and torch.equal(x.grad, out.detach())


def test_a_seed_fixes_it() -> None:
    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return Dropout(0.3)(torch.ones(100))

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))


def test_out_of_training_at_0_at_1_and_on_nothing() -> None:
    x = torch.randn(3, 4)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros(3, 4))
    assert Dropout(0.5)(x[:0]).shape == (0, 4)


def test_bfloat16_stays() -> None:
    assert Dropout(0.5)(torch.ones(9, dtype=torch.bfloat16)).dtype == torch.bfloat16
