"""The phrases' MRF against every labelling tried in turn."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from vsalign.alignment import Segment, decode_labels, segments
from vsalign.errors import ConfigurationError


def worth(unary: Tensor, labels: tuple[int, ...], beta: float) -> float:
    """The paper's objective of one labelling."""
    total = sum(float(unary[t, label]) for t, label in enumerate(labels))
    for one, next_one in itertools.pairwise(labels):
        total += beta * (one == next_one)
    return total


def random_case(seed: int) -> tuple[Tensor, Tensor, float]:
    """One batch of sentences of 1 to 6 words and 1 to 4 regions, some of them absent, and a beta."""
    generator = torch.Generator().manual_seed(seed)
    sentences, steps, regions = (int(torch.randint(1, high, (), generator=generator)) for high in (4, 7, 5))
    unary = 3 * torch.randn(sentences, steps, regions, generator=generator, dtype=torch.float64)
    absent = torch.rand(sentences, regions, generator=generator) < 0.3
    absent[:, 0] = False
    unary.masked_fill_(absent[:, None, :], -torch.inf)
    lengths = torch.randint(1, steps + 1, (sentences,), generator=generator)
    beta = [0.0, 0.1, 0.7, 2.0, 10.0, 1000.0][seed % 6]
    return unary, lengths, beta


def test_labels_are_as_good_as_the_best_of_all_labellings() -> None:
    for seed in range(300):
        unary, lengths, beta = random_case(seed)
        labels = decode_labels(unary, lengths, beta)
        for sentence, found, length in zip(unary, labels, lengths.tolist(), strict=True):
            every = itertools.product(range(unary.shape[2]), repeat=length)
            best = max(worth(sentence[:length], labelling, beta) for labelling in every)
            assert worth(sentence[:length], tuple(found[:length].tolist()), beta) == pytest.approx(best, abs=1e-9)
            assert (found[length:] == 0).all()


def test_beta_0_takes_the_best_region_of_every_word() -> None:
    unary = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))

    assert torch.equal(decode_labels(unary, torch.tensor([6, 6, 6]), 0.0), unary.argmax(2))


@pytest.mark.parametrize("beta", [1e6, 1e12, 1e30, math.inf])
def test_a_huge_beta_puts_the_sentence_on_the_best_single_region(beta: float) -> None:
    unary = torch.randn(50, 8, 5, generator=torch.Generator().manual_seed(1))
    unary[:, :, 3] = -torch.inf

    labels = decode_labels(unary, torch.full((50,), 8), beta)

    assert torch.equal(labels, unary.sum(1).argmax(1, keepdim=True).expand(50, 8))


def test_a_sentence_alone_is_labelled_as_in_a_batch() -> None:
    unary = torch.randn(20, 7, 4, generator=torch.Generator().manual_seed(2))
    lengths = torch.arange(20) % 7 + 1
    together = decode_labels(unary, lengths, 0.8)

    for number, length in enumerate(lengths.tolist()):
        alone = decode_labels(unary[number : number + 1, :length], lengths[number : number + 1], 0.8)
        assert torch.equal(alone[0], together[number, :length])


def test_equal_regions_take_the_lowest_and_stay() -> None:
    assert decode_labels(torch.zeros(1, 4, 3), torch.tensor([4]), 0.0).tolist() == [[0, 0, 0, 0]]
    assert decode_labels(torch.zeros(1, 4, 3), torch.tensor([4]), 1.0).tolist() == [[0, 0, 0, 0]]


def test_segments_are_the_runs_of_equal_labels_with_their_scores() -> None:
    unary = torch.tensor([[[5.0, 0.0], [4.0, 0.0], [0.0, 3.0], [0.0, 2.5]], [[0.0, 1.0]] + [[9.0, 9.0]] * 3])

    found = segments(unary, torch.tensor([4, 1]), beta=1.0)

    assert found == [[Segment(0, 2, 0, 9.0), Segment(2, 4, 1, 5.5)], [Segment(0, 1, 1, 1.0)]]


def test_segments_hold_every_word_once_and_in_order() -> None:
    for seed in range(40):
        unary, lengths, beta = random_case(seed)
        for found, length in zip(segments(unary, lengths, beta), lengths.tolist(), strict=True):
            words = [word for segment in found for word in range(segment.start, segment.end)]
            assert words == list(range(length))
            assert all(one.region != following.region for one, following in itertools.pairwise(found))


def test_an_empty_sentence_has_no_segments() -> None:
    assert segments(torch.zeros(2, 3, 2), torch.tensor([0, 3]), 0.0) == [[], [Segment(0, 3, 0, 0.0)]]
    assert segments(torch.zeros(2, 0, 2), torch.tensor([0, 0]), 0.0) == [[], []]


@pytest.mark.parametrize("beta", [-0.1, -math.inf, math.nan])
def test_a_beta_below_0_is_refused(beta: float) -> None:
    with pytest.raises(ConfigurationError, match="give 0"):
        decode_labels(torch.zeros(1, 2, 2), torch.tensor([2]), beta)
