"""The packaged sentence encoder: a state a word, whatever the words are."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from vsalign import language
from vsalign.errors import MissingInputError, ModelError
from vsalign.language import Language, packaged_folder


@pytest.fixture(scope="module")
def encoder() -> Language:
    return Language()


def test_a_word_has_the_mean_state_of_its_pieces_in_its_sentence(encoder: Language) -> None:
    words = ["a", "snowboarder", "jumps", "over", "zzyzxqq"]

    (found,) = encoder.states([words])

    pieces = encoder._tokenizer(" ".join(words), return_tensors="pt")
    with torch.inference_mode():
        last = encoder._network(**pieces).last_hidden_state[0]
    names = encoder._tokenizer.convert_ids_to_tokens(pieces["input_ids"][0].tolist())
    expected: list[list[int]] = []
    for place, name in enumerate(names):
        if not name.startswith("["):
            if name.startswith("##"):
                expected[-1].append(place)
            else:
                expected.append([place])
    assert len(expected) == len(words) and any(len(places) > 1 for places in expected)
    means = torch.stack([last[places].mean(0) for places in expected]).numpy()
    assert found.dtype == np.float16 and found.shape == (5, 384)
    np.testing.assert_allclose(found, means, atol=2e-3)


def test_states_hang_on_the_sentence_and_not_on_its_neighbours(encoder: Language) -> None:
    one = ["the", "bank", "of", "a", "river"]
    other = ["the", "bank", "lends", "money"]
    together = encoder.states([other, one, [], ["dog"] * 40, one])

    (alone,) = encoder.states([one])
    np.testing.assert_allclose(together[1], alone, atol=4e-3)
    np.testing.assert_array_equal(together[1], together[4])
    assert together[2].shape == (0, 384)
    assert np.abs(together[0][1].astype(np.float32) - together[1][1]).max() > 0.1  # "bank" is another thing


def test_odd_words_and_endless_sentences_have_finite_states(encoder: Language) -> None:
    odd = ["\u0e20\u0e32\u0e29\u0e32", "\U0001f600", "caf\u00e9", "x" * 5000, "\u200d", "[SEP]", "\u6f22\u5b57"]
    found = encoder.states([odd, ["word"] * 2000])

    assert [len(states) for states in found] == [len(odd), 2000]
    assert all(np.isfinite(states).all() for states in found)
    assert np.abs(found[1][100]).max() > 0 and (found[1][-1] == 0).all()  # behind the longest sentence


def test_identity_names_the_weights(encoder: Language) -> None:
    weights = (packaged_folder() / "model.safetensors").read_bytes()
    assert encoder.identity() == {
        "name": "all-MiniLM-L6-v2",
        "dim": 384,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }


def test_a_folder_of_ones_own_is_read_and_others_are_refused(
    encoder: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "my-encoder"
    shutil.copytree(packaged_folder(), own)
    assert Language(str(own)).identity() == {**encoder.identity(), "name": "my-encoder"}
    with pytest.raises(MissingInputError, match="there is no sentence encoder at .*absent"):
        Language(str(tmp_path / "absent"))
    (own / "config.json").write_text("{")
    with pytest.raises(ModelError, match="holds no sentence encoder that can be read") as caught:
        Language(str(own))
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(language, "PACKAGE", "no_such_package")
    with pytest.raises(MissingInputError, match=r"pip install \"vsalign\[language\]\""):
        Language()
    monkeypatch.setattr(language.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingInputError, match="transformers"):
        Language(str(own))
