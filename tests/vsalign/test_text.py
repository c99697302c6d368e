"""Words and their numbers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsalign.errors import ConfigurationError, ModelError
from vsalign.text import END, PAD, SPECIAL_WORDS, START, UNK, Vocabulary, tokenize


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A child's tri-colored DOG , running .", ["a", "child", "s", "tri", "colored", "dog", "running"]),
        ('He said ""hi""', ["he", "said", "hi"]),
        ("None", ["none"]),
        ("snake_case<end>", ["snake", "case", "end"]),
        ("Ein Café in der STRASSE, Straße 2b", ["ein", "café", "in", "der", "strasse", "straße", "2b"]),
        ("cafe\u0301", ["caf\u00e9"]),
        ("一只狗。在跑", ["一只狗", "在跑"]),
        ("كَلْبٌ يَجري", ["كَلْبٌ", "يَجري"]),
        ("कुत्ता दौड़ता है", ["कुत्ता", "दौड़ता", "है"]),
        ("...", []),
        ("🐶 👨\u200d👩\u200d👧 ❤\ufe0f", []),
        ("1\ufe0f\u20e3", ["1"]),
        ("", []),
        ("\u0301", []),
    ],
)
def test_text_becomes_lower_case_words(text: str, words: list[str]) -> None:
    import unicodedata

    assert tokenize(text) == [unicodedata.normalize("NFC", word) for word in words]


@given(st.text())
def test_tokenizing_again_gives_the_same_words(text: str) -> None:
    words = tokenize(text)
    assert tokenize(" ".join(words)) == words


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_takes_the_same_words_on_both_paths(text: str) -> None:
    assert tokenize(text + " é") == [*tokenize(text), "é"]


@pytest.mark.parametrize("special", SPECIAL_WORDS)
def test_no_text_gives_a_special_word(special: str) -> None:
    assert special not in tokenize(f"a {special} b")


def test_vocabulary_is_sorted_by_count_then_word_and_keeps_words_seen_five_times() -> None:
    sentences = [["b", "a"]] * 5 + [["dog"]] * 7 + [["rare"]] * 4
    vocabulary = Vocabulary.build(sentences)
    assert vocabulary.words == (*SPECIAL_WORDS, "dog", "a", "b")
    assert len(vocabulary) == 7
    assert (PAD, START, END, UNK) == (0, 1, 2, 3)
    assert Vocabulary.build(reversed(sentences)) == vocabulary


def test_encoding_and_decoding_keep_special_words_out_of_text() -> None:
    vocabulary = Vocabulary.build([["a", "dog"]], min_count=1)
    assert vocabulary.encode(["a", "cat", "dog"]) == [4, UNK, 5]
    assert vocabulary.decode([START, 4, UNK, PAD, 5, END, 4, 4]) == ["a", "dog"]
    assert vocabulary.decode([]) == []
    with pytest.raises(ModelError, match="word id 6 .* 6 words"):
        vocabulary.decode([6])
    with pytest.raises(ModelError, match="-1"):
        vocabulary.decode([-1])


def test_hash_tells_vocabularies_of_equal_size_apart() -> None:
    first, second = Vocabulary(["a", "dog"]), Vocabulary(["dog", "a"])
    assert len(first) == len(second)
    assert first.sha256 != second.sha256
    assert Vocabulary(["ab", "c"]).sha256 != Vocabulary(["a", "bc"]).sha256
    assert first.sha256 == Vocabulary(["a", "dog"]).sha256


def test_json_gives_the_same_vocabulary_back_and_an_edited_one_is_refused() -> None:
    vocabulary = Vocabulary(["a", "straße", "狗"])
    text = vocabulary.to_json()
    assert Vocabulary.from_json(text) == vocabulary
    content = json.loads(text)
    content["words"].reverse()
    with pytest.raises(ModelError, match="SHA-256"):
        Vocabulary.from_json(json.dumps(content))
    for broken in ("", "[]", "{}", text[:-8], '{"words": [1], "sha256": ""}', '{"words": ["a", "a"]}'):
        with pytest.raises(ModelError):
            Vocabulary.from_json(broken)


def test_special_and_doubled_words_are_refused() -> None:
    with pytest.raises(ModelError, match="<unk>"):
        Vocabulary(["a", "<unk>"])
    with pytest.raises(ModelError, match="'a' twice"):
        Vocabulary(["a", "a"])


def test_vocabulary_without_a_frequent_word_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="2 different words was seen 5 times.*min_count"):
        Vocabulary.build([["a", "dog"]])
    with pytest.raises(ConfigurationError, match="min_count is 0"):
        Vocabulary.build([["a"]], min_count=0)
