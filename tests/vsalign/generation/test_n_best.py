"""The n best sentences, lengths made even, repeats forbidden, and sentences drawn at random."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.vsalign.generation.plain import MODELS, REGIONS, Following, feature, greedy, network, views
from vsalign.errors import ConfigurationError
from vsalign.generation import DESCRIBERS, DecodeOptions, beam_search, n_best
from vsalign.generation.decode import greatest
from vsalign.generation.sample import draw
from vsalign.text import END, PAD, START, UNK


@pytest.mark.parametrize("power", [0.0, 0.7, 1.0])
def test_the_n_best_are_the_best_of_all_sentences_in_order(power: float) -> None:
    max_words, count = 3, 5
    for seed, end in MODELS[::4]:
        model = network(seed=seed, end=end)
        following = Following(model, feature(seed))
        words = [list(itertools.product(following.real_words(), repeat=n)) for n in range(1, max_words + 1)]
        every = [(following.log_prob((*each, END)), list(each)) for of_length in words for each in of_length]
        every.sort(key=lambda found: -found[0] / (len(found[1]) + 1) ** power)
        options = DecodeOptions(100, max_words, power)

        (found,) = n_best(model, *views(model, feature(seed)), options, count)

        skipped = not found.finished[0]  # the best open one comes first where no finished one is as good
        assert found.finished[skipped:] == [True] * (count - skipped)
        assert found.words[skipped:] == [each for _, each in every[: count - skipped]]
        assert found.log_probs[skipped:] == pytest.approx([p for p, _ in every[: count - skipped]], abs=1e-4)
        one = beam_search(model, *views(model, feature(seed)), options)
        assert (one.words[0], one.finished[0]) == (found.words[0], found.finished[0])


def test_long_sentences_win_where_lengths_are_made_even() -> None:
    shorter = longer = 0
    for seed, end in MODELS:
        model, images = network(9, seed, end), feature(seed, 4)
        plain, even = (beam_search(model, *views(model, images), DecodeOptions(30, 5, power)) for power in (0.0, 1.0))
        lengths = [[len(words) for words in found.words] for found in (plain, even)]
        shorter += sum(one > other for one, other in zip(*lengths, strict=True))
        longer += sum(one < other for one, other in zip(*lengths, strict=True))
    assert longer > 5 and shorter == 0


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_sequence_comes_twice_where_that_is_forbidden(size: int) -> None:
    def repeats(words: Sequence[int]) -> bool:
        runs = [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
        return len(runs) > len(set(runs))

    met = 0
    for seed in range(6):
        model, images = network(8, seed, -3.0), feature(seed, 4)
        options = DecodeOptions(3, 9, no_repeat=size)
        met += sum(map(repeats, beam_search(model, *views(model, images), DecodeOptions(3, 9)).words))
        assert not any(map(repeats, beam_search(model, *views(model, images), options).words))
    assert met > 3


@pytest.mark.parametrize(("width", "count"), [(700, 5), (640, 1), (65, 3), (1, 4), (129, 1)])
def test_the_greatest_are_topk_s(width: int, count: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3, width)
    logits[0, 0, 5:] = -torch.inf
    expected = logits.topk(min(count, width), -1)

    values, places = greatest(logits, count)

    assert torch.equal(values, expected.values)
    assert torch.equal(logits.gather(-1, places), values)


@pytest.mark.parametrize("describer", DESCRIBERS)
def test_words_are_drawn_as_likely_as_the_model_says(describer: str) -> None:
    model, images = network(8, 1, 0.0, describer), feature(1, 2)
    mask, described = torch.ones(2, REGIONS, dtype=torch.bool), torch.ones(2, dtype=torch.long)
    torch.manual_seed(0)

    words, lengths = draw(model, images, mask, described, 3000, max_words=6)

    assert words.shape[:2] == (2, 3000) and not {PAD, START, UNK} & set(words[lengths > 0][:, 0].tolist())
    following = Following(model, images[1:])
    for start in [(), (4,)]:
        log_probs = torch.tensor(following(start))
        log_probs[[PAD, START, UNK]] = -torch.inf
        rows = words[1][(words[1, :, : len(start)] == torch.tensor(start, dtype=torch.long)).all(1), len(start)]
        shares = torch.bincount(rows, minlength=8) / len(rows)
        torch.testing.assert_close(shares, log_probs.softmax(0), atol=4 / len(rows) ** 0.5, rtol=0)
    for ids, length in zip(words[0].tolist(), lengths[0].tolist(), strict=True):
        assert END not in ids[: length - 1] and set(ids[length:]) <= {PAD}
        assert length == 6 or ids[length - 1] == END


def test_a_low_temperature_draws_the_argmax() -> None:
    model, images = network(8, 1), feature(1, 3)
    mask, described = torch.ones(3, REGIONS, dtype=torch.bool), torch.ones(3, dtype=torch.long)

    words, _ = draw(model, images, mask, described, 2, 5, temperature=1e-4)

    for image, own in zip(images, words.tolist(), strict=True):
        said, _, finished = greedy(model, image[None], 4)
        assert [ids[: len(said) + finished] for ids in own] == [said + [END] * finished] * 2


@pytest.mark.parametrize("options", [{"length_norm": -0.1}, {"length_norm": 1.5}, {"no_repeat": -1}])
def test_impossible_comparisons_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="lies in"):
        DecodeOptions(**options)
