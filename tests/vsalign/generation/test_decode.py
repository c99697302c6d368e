"""Batched beam search against plain searches of one sentence: exhaustive, greedy, and beam by beam."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from vsalign.errors import ConfigurationError
from vsalign.generation import DESCRIBERS, DecodeOptions, DescriberConfig, DescriberNetwork, beam_search, n_best
from vsalign.generation.decode import greatest
from vsalign.generation.sample import draw
from vsalign.text import END, PAD, START, UNK

SPECIAL = {PAD, START, END, UNK}
D = 3
REGIONS = 2


def bias(model: DescriberNetwork) -> Tensor:
    """Of the words."""
    found: Tensor = model.W_oh.bias if model.config.describer == "mrnn" else model.b  # type: ignore[assignment,union-attr]
    return found


def network(vocabulary: int = 7, seed: int = 0, end: float = 0.0, describer: str = "mrnn") -> DescriberNetwork:
    """A random model; the greater `end`, the sooner it ends."""
    torch.manual_seed(seed)
    config = DescriberConfig(describer=describer, hidden=5, word_dim=4)  # type: ignore[arg-type]
    model = DESCRIBERS[describer](D, vocabulary, config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.8 if describer == "mrnn" else 2.0)
    with torch.no_grad():
        bias(model)[END] += end
        bias(model)[[PAD, START, UNK]] += 2  # what must not be said is likely
    return model


def feature(seed: int, count: int = 1) -> Tensor:
    return torch.randn(count, REGIONS, D, generator=torch.Generator().manual_seed(seed))


def views(model: DescriberNetwork, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """The second region of each image."""
    with torch.no_grad():
        context = model.encode(images, torch.ones(images.shape[:2], dtype=torch.bool))
    return context, torch.ones(len(images), dtype=torch.long)


class Following:
    """log p of each next word after some words, for one image; every answer is remembered."""

    def __init__(self, model: DescriberNetwork, image: Tensor) -> None:
        self.model = model
        self.known: dict[tuple[int, ...], tuple[tuple[Tensor, ...], list[float]]] = {}
        self.context, described = views(model, image)
        with torch.no_grad():
            self._remember((), model.start(self.context, described))

    def _remember(self, words: tuple[int, ...], state: tuple[Tensor, ...]) -> None:
        self.known[words] = state, self.model.logits(state[0]).log_softmax(-1)[0, 0].tolist()

    def __call__(self, words: tuple[int, ...]) -> list[float]:
        if words not in self.known:
            self(words[:-1])
            with torch.no_grad():
                self._remember(
                    words, self.model.step(self.context, self.known[words[:-1]][0], torch.tensor([words[-1:]]))
                )
        return self.known[words][1]

    def log_prob(self, words: tuple[int, ...]) -> float:
        return sum(self(words[:t])[word] for t, word in enumerate(words))

    def real_words(self) -> list[int]:
        return [word for word in range(self.model.vocabulary_size) if word not in SPECIAL]


Found = tuple[list[int], float, bool]


def exhaustive(model: DescriberNetwork, image: Tensor, max_words: int) -> Found:
    """The best of all sentences; unfinished where some continuation of max_words words is better than all of them."""
    following = Following(model, image)
    prefixes = [list(itertools.product(following.real_words(), repeat=n)) for n in range(max_words + 2)]
    ended = {words: following.log_prob((*words, END)) for n in range(max_words + 1) for words in prefixes[n]}
    best = max(ended, key=ended.__getitem__)
    if ended[best] >= max(map(following.log_prob, prefixes[max_words + 1])):
        return list(best), ended[best], True
    best = max(prefixes[max_words], key=following.log_prob)
    return list(best), following.log_prob(best), False


def greedy(model: DescriberNetwork, image: Tensor, max_words: int) -> Found:
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


def search(model: DescriberNetwork, images: Tensor, beam: int, max_words: int) -> list[Found]:
    return list(zip(*beam_search(model, *views(model, images), DecodeOptions(beam, max_words)), strict=True))


def assert_same(found: Sequence[Found], expected: Sequence[Found]) -> None:
    assert [(words, finished) for words, _, finished in found] == [(w, f) for w, _, f in expected]
    assert [log_prob for _, log_prob, _ in found] == pytest.approx([p for _, p, _ in expected], abs=1e-4)


MODELS = [(seed, end) for seed in range(6) for end in (-3.0, 0.0, 2.0, 4.0)]


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


@pytest.mark.parametrize("power", [0.0, 0.7, 1.0])
def test_the_n_best_are_the_best_of_all_sentences_in_order(power: float) -> None:
    max_words, count = 3, 5
    for seed, end in MODELS[::4]:
        model = network(seed=seed, end=end)
        following = Following(model, feature(seed))
        words = [list(itertools.product(following.real_words(), repeat=n)) for n in range(max_words + 1)]
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


def test_a_sentence_may_be_empty() -> None:
    model = network(9, 1, 60.0)

    assert search(model, feature(0), 4, 6) == [([], pytest.approx(0, abs=1e-3), True)]


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


@pytest.mark.parametrize("options", [{"length_norm": -0.1}, {"length_norm": 1.5}, {"no_repeat": -1}])
def test_impossible_comparisons_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="lies in"):
        DecodeOptions(**options)
