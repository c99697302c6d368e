"""Describers that say each word together."""

from __future__ import annotations

import math

import pytest
import torch

from tests.vsalign.generation.plain import Following, feature, network, views
from vsalign.errors import ModelError
from vsalign.generation import DecodeOptions, Ensemble, beam_search
from vsalign.text import END


@pytest.mark.parametrize("kinds", [("mrnn", "attention", "attention"), ("attention", "mrnn"), ("attention",)])
def test_a_word_is_as_likely_as_on_the_mean_of_the_members(kinds: tuple[str, ...]) -> None:
    members = [network(9, seed, describer=kind) for seed, kind in enumerate(kinds)]
    image = feature(3)
    each = [Following(member, image) for member in members]
    both = Following(Ensemble(members), image)

    for words in [(), (5,), (5, 6), (7, 5, 8, END)]:
        expected = torch.tensor([one(words) for one in each]).exp().mean(0)
        torch.testing.assert_close(torch.tensor(both(words)).exp(), expected)


def test_one_model_twice_says_what_it_says_alone() -> None:
    model, images = network(12, 4, describer="attention"), feature(1, 5)
    options = DecodeOptions(3, 8)
    twice = Ensemble([model, model])

    alone, found = (beam_search(each, *views(each, images), options) for each in (model, twice))

    assert found.words == alone.words and found.finished == alone.finished
    assert found.log_probs == pytest.approx(alone.log_probs, abs=1e-4)
    assert all(math.isfinite(each) for each in found.log_probs)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ModelError, match=r"\[\(3, 7\), \(3, 9\)\]"):
        Ensemble([network(7), network(9)])
