"""States of a language model: in a file, in memory, in batches, and what is left out of the score at random."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.vsalign.training.test_alignment import SHORT, TINY, Run, assert_equal, run, weights
from vsalign.alignment import SentenceReader
from vsalign.checkpoint import load_model
from vsalign.errors import ConfigurationError, ModelError
from vsalign.evaluation.retrieval import evaluate_ranking
from vsalign.storage import TableReader
from vsalign.text import Vocabulary
from vsalign.training import alignment, states
from vsalign.training.alignment import thinned
from vsalign.training.states import Remembered, states_in_file
from vsalign.training.stream import Text, collate
from vsalign.training.texts import Caption, caption_texts, captions_of

__all__ = ["run"]  # the fixture
DIM = 6


class Hashed:
    """A language model whose state of a word is made of its letters and its place."""

    dim = DIM

    def __init__(self, folder: str = "") -> None:
        self.folder, self.asked = folder, 0

    def identity(self) -> dict[str, Any]:
        return {"name": self.folder or "hashed", "dim": DIM, "weights_sha256": "0"}

    def states(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        self.asked += len(sentences)
        return [np.array([self.state(word) for word in words], np.float16).reshape(-1, DIM) for words in sentences]

    @staticmethod
    def state(word: str) -> list[float]:
        return [byte / 64 - 2 for byte in hashlib.sha256(word.encode()).digest()[:DIM]]


def captions(count: int) -> list[Caption]:
    rng = np.random.default_rng(0)
    words = ["dog", "cat", "runs", "sits", "red"]
    tokens = [[str(word) for word in rng.choice(words, rng.integers(0, 6))] for _ in range(count)]
    return [Caption(f"{n // 2}.jpg", f"{n // 2}.jpg#{n % 2}", " ".join(t), t) for n, t in enumerate(tokens)]


def test_states_of_every_caption_with_words_are_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "CAPTIONS_AT_ONCE", 3)
    some, language = captions(20), Hashed()

    found = states_in_file(language, some, tmp_path)

    used = [caption for caption in some if caption.tokens]
    assert 0 < len(used) < 20 and found.keys() == {caption.caption_id for caption in used}
    for caption in used:
        np.testing.assert_array_equal(found[caption.caption_id], language.states([caption.tokens])[0])
    (file,) = tmp_path.iterdir()
    assert np.load(file).shape == (sum(len(caption.tokens) for caption in used), DIM)
    assert states_in_file(language, [caption for caption in some if not caption.tokens], tmp_path / "none") == {}


def test_states_are_computed_once_for_the_same_sentences_and_encoder(tmp_path: Path) -> None:
    some, first, again = captions(20), Hashed(), Hashed()
    found = states_in_file(first, some, tmp_path)

    kept = states_in_file(again, some, tmp_path)
    other = states_in_file(Hashed("other"), some, tmp_path)
    fewer = states_in_file(again, some[:7], tmp_path)

    assert first.asked > 0 and again.asked == len(fewer)
    for caption_id, rows in found.items():
        np.testing.assert_array_equal(kept[caption_id], rows)
        np.testing.assert_array_equal(other[caption_id], rows)
    assert len(list(tmp_path.iterdir())) == 3


def test_what_was_asked_for_once_is_remembered() -> None:
    language = Hashed()
    remembered = Remembered(language)
    first = remembered.states([["a", "dog"], ["cat"], ["a", "dog"]])
    again = remembered.states([["cat"], ["a", "dog"], ["new"]])

    assert language.asked == 3 and remembered.identity() == language.identity() and remembered.dim == DIM
    np.testing.assert_array_equal(again[1], first[0])
    np.testing.assert_array_equal(first[0], first[2])


def test_a_batch_and_a_reader_give_the_words_states_in_order() -> None:
    vocabulary, language = Vocabulary(["dog", "cat"]), Hashed()
    some = [caption for caption in captions(12) if caption.tokens]
    own = {caption.caption_id: language.states([caption.tokens])[0] for caption in some}
    texts = caption_texts(some, vocabulary, own)
    pairs = [(image_id, text, np.zeros((2, 3), np.float16)) for image_id, of in texts.items() for text in of]

    batch = collate(pairs)
    read = SentenceReader(vocabulary, language).read([caption.tokens for caption in some])

    assert batch.states is not None and read.states is not None
    assert torch.equal(batch.states.float(), read.states) and batch.states.dtype == torch.float16
    assert torch.equal(batch.words, read.words) and torch.equal(batch.lengths, read.lengths)
    assert collate([("x", Text([3]), np.zeros((1, 3), np.float16))]).states is None


def test_words_and_regions_are_left_out_at_random_but_never_all() -> None:
    config = replace(SHORT, drop_words=0.5, drop_regions=0.3)
    lengths = torch.tensor([1, 400, 3, 200])
    s = torch.arange(604.0)[:, None]
    mask = torch.ones(4, 500, dtype=torch.bool)
    mask[1, 20:] = False
    torch.manual_seed(0)

    thin_mask, thin_s, thin_lengths = thinned(config, mask, s, lengths)

    assert int(thin_lengths.sum()) == len(thin_s) and (thin_lengths >= 1).all()
    ends = thin_s[thin_lengths.cumsum(0) - 1, 0].tolist()
    assert ends == [0, 400, 403, 603]  # every sentence's last word
    assert thin_s[:, 0].tolist() == sorted(thin_s[:, 0].tolist())
    assert 0.4 < len(thin_s) / 604 < 0.6 and 0.6 < thin_mask[0].float().mean() < 0.8
    assert thin_mask[:, 0].all() and not (thin_mask & ~mask).any()
    same = thinned(SHORT, mask, s, lengths)
    assert same[0] is mask and same[1] is s and same[2] is lengths


BEST = replace(
    TINY,
    model=replace(TINY.model, text="language", state_dim=DIM, residual=True, normalise=True),
    objective="contrastive",
    optimiser="adamw",
    learning_rate=0.01,
    epochs=60,
)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence encoder of training and of the saved model."""
    monkeypatch.setattr(alignment, "Language", Hashed)
    monkeypatch.setattr(alignment, "states_dim", lambda folder: Hashed.dim)
    monkeypatch.setattr("vsalign.language.Language", Hashed)


def test_pairs_are_learned_from_states_and_the_model_reads_them_again(
    run: Run, pictures: Any, tmp_path: Path, hashed: None
) -> None:
    reported = run(BEST, pictures, tmp_path)

    assert reported[-1]["loss"] < 0.2 * reported[0]["loss"]
    trained = load_model(str(tmp_path / "model"), "alignment")
    assert trained.language == Hashed().identity()
    train = captions_of(TableReader(pictures.captions, "captions"), "train")
    ranking = evaluate_ranking(trained.model, TableReader(pictures.regions, "regions"), train, trained.reader())
    assert (ranking.annotation.recall[1], ranking.search.recall[1]) == (100, 100)
    with pytest.raises(ModelError, match="name its folder"):
        trained.reader("another")


@pytest.mark.parametrize("objective", ["contrastive", "hardest_negative"])
def test_a_resumed_run_with_words_left_out_ends_bitwise_as_an_undisturbed_one(
    objective: Any, run: Run, pictures: Any, tmp_path: Path, hashed: None
) -> None:
    config = replace(BEST, objective=objective, epochs=3, drop_words=0.3, drop_regions=0.3)
    run(config, pictures, tmp_path / "undisturbed")
    for epoch in range(2):
        run(config, pictures, tmp_path / f"{epoch}", tmp_path / "undisturbed" / f"epoch{epoch}")
        assert_equal(weights(tmp_path / f"{epoch}"), weights(tmp_path / "undisturbed"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": replace(BEST.model, state_dim=5)}, "give --model.state-dim 6"),
        ({"word_vectors": "x.txt"}, "word_vectors are for --model.text brnn"),
        ({"model": TINY.model, "language": "folder"}, "language names a sentence encoder"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"drop_words": 1.0}, "drop_words is 1.0"),
        ({"drop_regions": -0.1}, "drop_regions is -0.1"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    changes: dict[str, Any], says: str, run: Run, pictures: Any, tmp_path: Path, hashed: None
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        run(replace(BEST, **changes), pictures, tmp_path)


def test_a_model_without_an_encoder_takes_none(run: Run, pictures: Any, tmp_path: Path) -> None:
    run(replace(SHORT, epochs=1), pictures, tmp_path)
    with pytest.raises(ConfigurationError, match="without a sentence encoder"):
        load_model(str(tmp_path / "model"), "alignment").reader("folder")
