"""Batched beam search against plain searches of one sentence: exhaustive, greedy, and beam by beam."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tests.vsalign.generation.plain import MODELS, SPECIAL, Following, Found, bias, feature, greedy, network, views
from vsalign.errors import ConfigurationError
from vsalign.generation import DESCRIBERS, DecodeOptions, DescriberNetwork, beam_search
from vsalign.text import END, UNK


def exhaustive(model: DescriberNetwork, image: Tensor, max_words: int) -> Found:
    """The best of all sentences; unfinished where some continuation of max_words words is better than all of them."""
    following = Following(model, image)
    prefixes = [list(itertools.product(following.real_words(), repeat=n)) for n in range(max_words + 2)]
    ended = {words: following.log_prob((*words, END)) for n in range(1, max_words + 1) for words in prefixes[n]}
    best = max(ended, key=ended.__getitem__)
    if ended[best] >= max(map(following.log_prob, prefixes[max_words + 1])):
        return list(best), ended[best], True
    best = max(prefixes[max_words], key=following.log_prob)
    return list(best), following.log_prob(best), False


def beam_by_beam(model: DescriberNetwork, image: Tensor, beam: int, max_words: int) -> Found:
    """The `beam` best continuations at each step; of those, END finishes, and `beam` others stay open."""
    following = Following(model, image)
    best: tuple[float, tuple[int, ...]] = (-math.inf, ())
    hypotheses: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for t in range(max_words + 1):
        candidates = sorted(
            (
                (log_prob + following(words)[word], (*words, word))
                for log_prob, words in hypotheses
                for word in following.may_follow(words)
            ),
            reverse=True,
        )
        best = max([best, *((p, words) for p, words in candidates[:beam] if words[-1] == END)])
        grown = [(p, words) for p, words in candidates if words[-1] != END][:beam]
        if best[0] >= grown[0][0]:
            return list(best[1][:-1]), best[0], True
        if t < max_words:
            hypotheses = grown
    return list(hypotheses[0][1]), hypotheses[0][0], False


def search(model: DescriberNetwork, images: Tensor, beam: int, max_words: int) -> list[Found]:
    return list(zip(*beam_search(model, *views(model, images), DecodeOptions(beam, max_words, 0.0)), strict=True))


def assert_same(found: Sequence[Found], expected: Sequence[Found]) -> None:
    assert [(words, finished) for words, _, finished in found] == [(w, f) for w, _, f in expected]
    assert [log_prob for _, log_prob, _ in found] == pytest.approx([p for _, p, _ in expected], abs=1e-4)


@pytest.mark.parametrize("max_words", [1, 3, 4])
def test_a_beam_that_holds_everything_finds_the_best_of_all_sentences(max_words: int) -> None:
    endings = set()
    for seed, end in MODELS[:: 1 if max_words < 4 else 5]:
        model = network(seed=seed, end=end)
        expected = exhaustive(model, feature(seed), max_words)
        assert_same(search(model, feature(seed), 3 ** (max_words + 1) + 10, max_words), [expected])
        endings.add(expected[2])
    assert endings == {True, False}  # both kinds were met


@pytest.mark.parametrize("describer", DESCRIBERS)
@pytest.mark.parametrize("max_words", [1, 6])
def test_a_beam_of_1_is_the_argmax_word_by_word(max_words: int, describer: str) -> None:
    for seed, end in MODELS[:: 1 if describer == "mrnn" else 3]:
        model, images = network(12, seed, end, describer), feature(seed, 5)
        found = search(model, images, 1, max_words)
        assert_same(found, [greedy(model, image[None], max_words) for image in images])


@pytest.mark.parametrize("describer", DESCRIBERS)
@pytest.mark.parametrize("beam", [2, 3, 7])
def test_the_batched_search_is_the_plain_one(beam: int, describer: str) -> None:
    lengths = set()
    for seed, end in MODELS[::2]:
        model, images = network(9, seed, end, describer), feature(seed + 50, 4)
        expected = [beam_by_beam(model, image[None], beam, 5) for image in images]
        assert_same(search(model, images, beam, 5), expected)
        lengths |= {len(words) for words, *_ in expected}
    assert len(lengths) > 2


def test_a_sentence_does_not_depend_on_its_company() -> None:
    model, images = network(15, 3, 1.0), feature(9, 20)

    together = search(model, images, 5, 8)

    assert_same(together, [search(model, image[None], 5, 8)[0] for image in images])
    assert_same(together, search(model, images, 5, 8))
    assert len({len(words) for words, *_ in together}) > 1  # some end sooner than others


def test_a_wider_beam_never_finds_a_less_probable_finished_sentence_here() -> None:
    model, images = network(9, 2, 3.0), feature(4, 10)

    by_beam = [[p for _, p, _ in search(model, images, beam, 6)] for beam in (1, 10_000)]

    assert all(wide >= narrow - 1e-5 for narrow, wide in zip(*by_beam, strict=True))


def test_special_tokens_are_never_said() -> None:
    for seed, end in MODELS:
        model = network(8, seed, end)
        with torch.no_grad():
            bias(model)[UNK] += 50
        for beam in (1, 3, 40):
            for words, log_prob, _ in search(model, feature(seed, 3), beam, 5):
                assert not SPECIAL & set(words)
                assert math.isfinite(log_prob)


@pytest.mark.parametrize("end", [-50.0, -1e9, -math.inf])
@pytest.mark.parametrize("beam", [1, 3, 500])
def test_where_the_end_is_never_likely_the_best_unfinished_sentence_is_given(end: float, beam: int) -> None:
    model = network(9, 1, end)

    for words, log_prob, finished in search(model, feature(2, 4), beam, 4):
        assert not finished
        assert len(words) == 4
        assert math.isfinite(log_prob)


def test_one_word_said_for_ever_ends_at_max_words() -> None:
    model = network(9, 1)
    with torch.no_grad():
        bias(model)[6] += 100

    assert search(model, feature(0), 4, 6) == [([6] * 6, pytest.approx(0, abs=1e-3), False)]


@pytest.mark.parametrize("beam", [1, 4])
def test_a_sentence_has_a_word_however_likely_its_end_is(beam: int) -> None:
    model = network(9, 1, 60.0)

    ((words, log_prob, finished),) = search(model, feature(0), beam, 6)
    assert len(words) == 1 and log_prob < -50 and finished


@pytest.mark.parametrize("beam", [1, 2, 7])
def test_a_vocabulary_without_words_gives_empty_sentences(beam: int) -> None:
    with_end = search(network(4, 1), feature(0, 2), beam, 3)
    without = search(network(4, 1, -math.inf), feature(0, 2), beam, 3)

    assert [(words, finished) for words, _, finished in with_end] == [([], True)] * 2
    assert [(words, finished) for words, _, finished in without] == [([], False)] * 2


def test_a_model_left_in_training_mode_still_decodes_without_dropout() -> None:
    model, images = network(12, 4), feature(1, 3)
    encoded, options = views(model, images), DecodeOptions(3, 6)
    expected = beam_search(model, *encoded, options)

    model.train()

    assert beam_search(model, *encoded, options) == expected


def test_no_image_gives_no_sentence() -> None:
    assert search(network(), feature(0, 0), 3, 4) == []


@pytest.mark.parametrize("options", [{"beam": 0}, {"max_words": 0}, {"beam": -3}])
def test_impossible_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        DecodeOptions(**options)
