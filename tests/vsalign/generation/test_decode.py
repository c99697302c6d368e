"""Batched beam search against plain searches of one sentence: exhaustive, greedy, and beam by beam."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from vsalign.errors import ConfigurationError
from vsalign.generation import MRNN, DecodeOptions, DescriberConfig, beam_search
from vsalign.text import END, PAD, START, UNK

SPECIAL = {PAD, START, END, UNK}
D = 3


def mrnn(vocabulary: int = 7, seed: int = 0, end: float = 0.0) -> MRNN:
    """A random model; the greater `end`, the sooner it ends."""
    torch.manual_seed(seed)
    model = MRNN(D, vocabulary, DescriberConfig(hidden=5, word_dim=4)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    with torch.no_grad():
        model.W_oh.bias[END] += end
        model.W_oh.bias[[PAD, START, UNK]] += 2  # what must not be said is likely
    return model


def feature(seed: int, count: int = 1) -> Tensor:
    return torch.randn(count, D, generator=torch.Generator().manual_seed(seed))


class Following:
    """log p of each next word after some words, for one image; every answer is remembered."""

    def __init__(self, model: MRNN, image: Tensor) -> None:
        self.model = model
        self.known: dict[tuple[int, ...], tuple[Tensor, list[float]]] = {}
        with torch.no_grad():
            self._remember((), model.step(torch.tensor([START]), torch.zeros(1, 5), model.image_bias(image)))

    def _remember(self, words: tuple[int, ...], h: Tensor) -> None:
        self.known[words] = h, self.model.logits(h).log_softmax(-1)[0].tolist()

    def __call__(self, words: tuple[int, ...]) -> list[float]:
        if words not in self.known:
            self(words[:-1])
            with torch.no_grad():
                self._remember(words, self.model.step(torch.tensor(words[-1:]), self.known[words[:-1]][0], None))
        return self.known[words][1]

    def log_prob(self, words: tuple[int, ...]) -> float:
        return sum(self(words[:t])[word] for t, word in enumerate(words))

    def real_words(self) -> list[int]:
        return [word for word in range(self.model.vocabulary_size) if word not in SPECIAL]


Found = tuple[list[int], float, bool]


def exhaustive(model: MRNN, image: Tensor, max_words: int) -> Found:
    """The best of all sentences; unfinished where some continuation of max_words words is better than all of them."""
    following = Following(model, image)
    prefixes = [list(itertools.product(following.real_words(), repeat=n)) for n in range(max_words + 2)]
    ended = {words: following.log_prob((*words, END)) for n in range(max_words + 1) for words in prefixes[n]}
    best = max(ended, key=ended.__getitem__)
    if ended[best] >= max(map(following.log_prob, prefixes[max_words + 1])):
        return list(best), ended[best], True
    best = max(prefixes[max_words], key=following.log_prob)
    return list(best), following.log_prob(best), False


def greedy(model: MRNN, image: Tensor, max_words: int) -> Found:
    """The most probable next word, again and again."""
    following, words, total = Following(model, image), [], 0.0
    for _ in range(max_words + 1):
        following_words = following(tuple(words))
        word = max([END, *following.real_words()], key=following_words.__getitem__)
        if word == END:
            return words, total + following_words[END], True
        if len(words) == max_words:
            break
        words, total = [*words, word], total + following_words[word]
    return words, total, False


def beam_by_beam(model: MRNN, image: Tensor, beam: int, max_words: int) -> Found:
    """The `beam` best continuations at each step; of those, END finishes, and `beam` others stay open."""
    following = Following(model, image)
    best: tuple[float, tuple[int, ...]] = (-math.inf, ())
    hypotheses: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for t in range(max_words + 1):
        candidates = sorted(
            (
                (log_prob + following(words)[word], (*words, word))
                for log_prob, words in hypotheses
                for word in [END, *following.real_words()]
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


def search(model: MRNN, images: Tensor, beam: int, max_words: int) -> list[Found]:
    return list(zip(*beam_search(model, images, DecodeOptions(beam, max_words)), strict=True))


def assert_same(found: Sequence[Found], expected: Sequence[Found]) -> None:
    assert [(words, finished) for words, _, finished in found] == [(w, f) for w, _, f in expected]
    assert [log_prob for _, log_prob, _ in found] == pytest.approx([p for _, p, _ in expected], abs=1e-4)


MODELS = [(seed, end) for seed in range(6) for end in (-3.0, 0.0, 2.0, 4.0)]


@pytest.mark.parametrize("max_words", [1, 3, 4])
def test_a_beam_that_holds_everything_finds_the_best_of_all_sentences(max_words: int) -> None:
    endings = set()
    for seed, end in MODELS[:: 1 if max_words < 4 else 3]:
        model = mrnn(seed=seed, end=end)
        expected = exhaustive(model, feature(seed), max_words)
        assert_same(search(model, feature(seed), 3 ** (max_words + 1) + 10, max_words), [expected])
        endings.add(expected[2])
    assert endings == {True, False}  # both kinds were met


@pytest.mark.parametrize("max_words", [1, 6])
def test_a_beam_of_1_is_the_argmax_word_by_word(max_words: int) -> None:
    for seed, end in MODELS:
        model, images = mrnn(12, seed, end), feature(seed, 5)
        assert_same(search(model, images, 1, max_words), [greedy(model, image[None], max_words) for image in images])


@pytest.mark.parametrize("beam", [2, 3, 7])
def test_the_batched_search_is_the_plain_one(beam: int) -> None:
    for seed, end in MODELS[::2]:
        model, images = mrnn(9, seed, end), feature(seed + 50, 4)
        expected = [beam_by_beam(model, image[None], beam, 5) for image in images]
        assert_same(search(model, images, beam, 5), expected)


def test_a_sentence_does_not_depend_on_its_company() -> None:
    model, images = mrnn(15, 3, 1.0), feature(9, 20)

    together = search(model, images, 5, 8)

    assert_same(together, [search(model, image[None], 5, 8)[0] for image in images])
    assert_same(together, search(model, images, 5, 8))
    assert len({len(words) for words, *_ in together}) > 1  # some end sooner than others


def test_a_wider_beam_never_finds_a_less_probable_finished_sentence_here() -> None:
    model, images = mrnn(9, 2, 3.0), feature(4, 10)

    by_beam = [[p for _, p, _ in search(model, images, beam, 6)] for beam in (1, 10_000)]

    assert all(wide >= narrow - 1e-5 for narrow, wide in zip(*by_beam, strict=True))


def test_special_tokens_are_never_said() -> None:
    for seed, end in MODELS:
        model = mrnn(8, seed, end)
        with torch.no_grad():
            model.W_oh.bias[UNK] += 50
        for beam in (1, 3, 40):
            for words, log_prob, _ in search(model, feature(seed, 3), beam, 5):
                assert not SPECIAL & set(words)
                assert math.isfinite(log_prob)


@pytest.mark.parametrize("end", [-50.0, -1e9, -math.inf])
@pytest.mark.parametrize("beam", [1, 3, 500])
def test_where_the_end_is_never_likely_the_best_unfinished_sentence_is_given(end: float, beam: int) -> None:
    model = mrnn(9, 1, end)

    for words, log_prob, finished in search(model, feature(2, 4), beam, 4):
        assert not finished
        assert len(words) == 4
        assert math.isfinite(log_prob)


def test_one_word_said_for_ever_ends_at_max_words() -> None:
    model = mrnn(9, 1)
    with torch.no_grad():
        model.W_oh.bias[6] += 100

    assert search(model, feature(0), 4, 6) == [([6] * 6, pytest.approx(0, abs=1e-3), False)]


def test_a_sentence_may_be_empty() -> None:
    model = mrnn(9, 1, 60.0)

    assert search(model, feature(0), 4, 6) == [([], pytest.approx(0, abs=1e-3), True)]


@pytest.mark.parametrize("beam", [1, 2, 7])
def test_a_vocabulary_without_words_gives_empty_sentences(beam: int) -> None:
    with_end = search(mrnn(4, 1), feature(0, 2), beam, 3)
    without = search(mrnn(4, 1, -math.inf), feature(0, 2), beam, 3)

    assert [(words, finished) for words, _, finished in with_end] == [([], True)] * 2
    assert [(words, finished) for words, _, finished in without] == [([], False)] * 2


def test_a_model_left_in_training_mode_still_decodes_without_dropout() -> None:
    model, images = mrnn(12, 4), feature(1, 3)
    expected = search(model, images, 3, 6)

    model.train()

    assert_same(search(model, images, 3, 6), expected)


def test_no_image_gives_no_sentence() -> None:
    assert search(mrnn(), feature(0, 0), 3, 4) == []


@pytest.mark.parametrize("options", [{"beam": 0}, {"max_words": 0}, {"beam": -3}])
def test_impossible_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        DecodeOptions(**options)
