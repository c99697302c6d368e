"""Captions and segments as the texts of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vsalign.errors import ConfigurationError, TableError
from vsalign.storage import TableReader
from vsalign.text import UNK, Vocabulary
from vsalign.training.stream import Text, key_of
from vsalign.training.texts import Caption, PhraseRules, caption_texts, captions_of, phrase_texts

Write = Callable[..., str]
VOCABULARY = Vocabulary(["a", "dog", "runs", "cat"])
A, DOG, RUNS, CAT = VOCABULARY.encode(["a", "dog", "runs", "cat"])


def caption(image: str, number: int, words: str) -> Caption:
    return Caption(image, f"{image}#{number}", words, words.split())


@pytest.fixture
def segments_table(tmp_path: Path, write_segments: Write) -> Callable[..., TableReader]:
    def table(pairs: dict[tuple[str, str], list[tuple[int, int, int]]]) -> TableReader:
        return TableReader(write_segments(tmp_path / "segments", pairs), "segments")

    return table


def test_captions_of_a_split_come_in_the_table_s_order(tmp_path: Path, write_captions: Write) -> None:
    url = write_captions(
        tmp_path / "captions", {"train": {"b": ["A dog", "None"], "a": ["a cat"]}, "dev": {"c": ["a"]}}
    )
    table = TableReader(url, "captions")

    assert captions_of(table, "train") == [
        Caption("b", "b#0", "A dog", ["a", "dog"]),
        Caption("b", "b#1", "None", ["none"]),
        Caption("a", "a#0", "a cat", ["a", "cat"]),
    ]


def test_a_split_without_captions_is_refused_with_the_splits_that_there_are(
    tmp_path: Path, write_captions: Write
) -> None:
    url = write_captions(tmp_path / "captions", {"train": {"b": ["a", "b"]}, "dev": {"c": ["a"]}})

    with pytest.raises(ConfigurationError, match=r"no captions of the split 'val': it has dev \(1\), train \(2\)"):
        captions_of(TableReader(url, "captions"), "val")


def test_captions_become_texts_of_the_whole_image_and_wordless_ones_are_left_out() -> None:
    captions = [caption("x", 0, "a dog jumps"), caption("y", 0, ""), caption("x", 1, "a cat"), caption("z", 0, "a cat")]

    texts = caption_texts(captions, VOCABULARY)

    assert texts == {
        "x": [Text([A, DOG, UNK], 0, key_of("a dog jumps")), Text([A, CAT], 0, key_of("a cat"))],
        "z": [Text([A, CAT], 0, key_of("a cat"))],
    }


def test_segments_become_texts_of_their_regions(segments_table: Callable[..., TableReader]) -> None:
    captions = [caption("x", 0, "a dog runs"), caption("y", 0, "a cat")]
    table = segments_table(
        {("x", "x#0"): [(0, 2, 3), (2, 3, 1)], ("y", "y#0"): [(0, 2, 0)], ("other", "other#0"): [(0, 9, 1)]}
    )

    assert phrase_texts(table, captions, VOCABULARY, PhraseRules()) == {
        "x": [Text([A, DOG], 3, key_of("a dog")), Text([RUNS], 1, key_of("runs"))],
        "y": [Text([A, CAT], 0, key_of("a cat"))],
    }
    assert phrase_texts(table, captions, VOCABULARY, PhraseRules(min_phrase=2)) == {
        "x": [Text([A, DOG], 3, key_of("a dog"))],
        "y": [Text([A, CAT], 0, key_of("a cat"))],
    }
    assert phrase_texts(table, captions, VOCABULARY, PhraseRules(max_phrase=1)) == {
        "x": [Text([RUNS], 1, key_of("runs"))],
    }


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("a man in a", "a man"), ("in front of a", "front"), ("is running", "running"), ("of the", ""), ("", ""),
        ("a dog", "a dog"), ("and two", ""), ("a man in a red shirt", "a man in a red shirt"),
    ],
)  # fmt: skip
def test_words_that_join_are_cut_off_the_ends_of_phrases(words: str, left: str) -> None:
    assert PhraseRules(trim="english").learned(words.split()) == left.split()
    assert PhraseRules().learned(words.split()) == words.split()
    assert PhraseRules(trim="english", min_phrase=2).learned(words.split()) == (left.split() if " " in left else [])


@pytest.mark.parametrize("segment", [(0, 4, 1), (2, 2, 1), (-1, 2, 1), (5, 6, 0)])
def test_a_segment_that_is_not_of_its_caption_s_words_is_refused(
    segments_table: Callable[..., TableReader], segment: tuple[int, int, int]
) -> None:
    table = segments_table({("x", "x#0"): [(0, 1, 0), segment]})

    with pytest.raises(TableError, match=rf"x#0 has a segment of its words {segment[0]} to {segment[1]}, but 3 words"):
        phrase_texts(table, [caption("x", 0, "a dog runs")], VOCABULARY, PhraseRules())


def test_segments_of_other_captions_are_refused(segments_table: Callable[..., TableReader]) -> None:
    table = segments_table({("x", "x#0"): [(0, 1, 0)]})

    with pytest.raises(ConfigurationError, match="are both tables of the same captions"):
        phrase_texts(table, [caption("y", 0, "a dog")], VOCABULARY, PhraseRules())
    with pytest.raises(ConfigurationError, match="of 2 words or more belongs"):
        phrase_texts(table, [caption("x", 0, "a dog")], VOCABULARY, PhraseRules(min_phrase=2))
