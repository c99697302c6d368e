"""The learning rate of each step, and settings that cannot be."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from vsalign.errors import ConfigurationError
from vsalign.training.loop import set_rate
from vsalign.training.schedule import PairSchedule, Schedule


def schedule(**changes: Any) -> Schedule:
    """Five epochs of two pairs a step, at a constant patience."""
    return replace(Schedule(epochs=5, patience=100, batch_size=2, learning_rate=0.1, warmup=0), **changes)


def test_the_learning_rate_warms_up_and_falls_to_0_along_a_cosine() -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    settings = schedule(learning_rate=0.2, warmup=10)
    rates = []
    for step in range(100):
        set_rate(optimiser, settings, step, 100)
        rates.append(optimiser.param_groups[0]["lr"])

    expected = [0.2 * min(1, (t + 1) / 10) * (1 + math.cos(math.pi * t / 100)) / 2 for t in range(100)]
    assert rates == pytest.approx(expected)
    assert rates[0] < rates[9] > rates[50] > rates[99] > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"batch_size": 0}, {"patience": 0}, {"warmup": -1},
        {"max_steps": -1}, {"learning_rate": 0.0}, {"learning_rate": math.nan}, {"clip": -1.0}, {"weight_decay": -0.1},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name_and_value(wrong: dict[str, float]) -> None:
    ((name, value),) = wrong.items()

    with pytest.raises(ConfigurationError, match=f"{name} is {value}: "):
        schedule(**wrong)


@pytest.mark.parametrize("wrong", [{"min_count": 0}, {"window_images": -1}, {"epochs": 0}])
def test_impossible_settings_of_pairs_are_too(wrong: dict[str, int]) -> None:
    ((name, value),) = wrong.items()

    with pytest.raises(ConfigurationError, match=f"{name} is {value}: "):
        PairSchedule(**{"epochs": 1, "patience": 1, **wrong})
