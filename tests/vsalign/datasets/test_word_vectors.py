"""Word vectors of every published form, and files that are none."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from vsalign.datasets.word_vectors import read_word_vectors, vector_size
from vsalign.errors import ConfigurationError, MissingInputError

VECTORS = {
    "the": [0.5, -1.25, 3.0],
    "Paris": [1.0, 2.0, 3.0],
    "PARIS": [7.0, 7.0, 7.0],
    "dog": [-0.125, 1e-7, 2e9],
    "café": [0.0, 0.25, 1.0],
    "dog_house": [4.0, 5.0, 6.0],
}
ASKED = ["dog", "paris", "café", "absent", "the"]
EXPECTED = {"dog": VECTORS["dog"], "paris": VECTORS["Paris"], "café": VECTORS["café"], "the": VECTORS["the"]}


def glove(vectors: Mapping[str, list[float]]) -> bytes:
    return b"".join(f"{word} {' '.join(map(repr, vector))}\n".encode() for word, vector in vectors.items())


def word2vec_text(vectors: Mapping[str, list[float]]) -> bytes:
    return f"{len(vectors)} 3\n".encode() + glove(vectors).replace(b"\n", b" \n")  # word2vec ends its lines so


def word2vec_binary(vectors: Mapping[str, list[float]], line_end: bytes = b"\n") -> bytes:
    entries = [word.encode() + b" " + np.array(vector, "<f4").tobytes() for word, vector in vectors.items()]
    return f"{len(vectors)} 3\n".encode() + line_end.join(entries)


FORMS = {
    "glove.txt": glove(VECTORS),
    "names with blanks.txt": glove({**VECTORS, ". . .": [1, 2, 3], "at name@domain.com": [1, 2, 3]}),
    "glove.txt.gz": gzip.compress(glove(VECTORS)),
    "vectors.txt": word2vec_text(VECTORS),
    "vectors.bin": word2vec_binary(VECTORS),
    "GoogleNews.bin.gz": gzip.compress(word2vec_binary(VECTORS, b"")),
}


def assert_found(path: str) -> None:
    found = read_word_vectors(path, ASKED)
    assert found.keys() == EXPECTED.keys() and vector_size(path) == 3
    for word, vector in found.items():
        assert vector.dtype == np.float32
        np.testing.assert_array_equal(vector, np.float32(EXPECTED[word]))


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_vectors_of_the_words_asked_for(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(FORMS[name])

    assert_found(str(file))
    assert_found(f"file://{file}")


def test_the_first_of_equal_names_counts_and_the_exact_case_before_another(tmp_path: Path) -> None:
    file = tmp_path / "twice.txt"
    file.write_bytes(b"Dog 9 9 9\ndog 1 2 3\ndog 4 5 6\n")
    assert read_word_vectors(str(file), {"dog"})["dog"].tolist() == [1, 2, 3]
    assert read_word_vectors(str(file), {"DOG"})["DOG"].tolist() == [9, 9, 9]


def test_bytes_that_are_no_utf8_spoil_their_own_word_alone(tmp_path: Path) -> None:
    for content in (b"d\xffg 1 2 3\ncat 4 5 6\n", word2vec_binary({"cat": [4, 5, 6]}).replace(b"1 3\n", b"1 3\n")):
        (tmp_path / "odd").write_bytes(content)
        assert read_word_vectors(str(tmp_path / "odd"), {"cat"})["cat"].tolist() == [4, 5, 6]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no file of word vectors"),
        (b"one line of words alone\n", "is no file of word vectors"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "is no file of word vectors"),
        (b"3 0\n", "announces vectors of 0 numbers"),
        (b"3 99999999999\n", "announces vectors of 99999999999 numbers"),
        (glove(VECTORS) + b"cut 1.0 2.0\n", "line 7: not a word and 3 numbers"),
        (glove(VECTORS) + b"the 1.0 2.0 x\n", "line 7: not a word and 3 numbers"),
        (glove({"dog": [1.0, float("nan"), 2.0]}), "the vector of 'dog' holds a number that is not finite"),
        (word2vec_binary(VECTORS)[:-5], "is cut or damaged at word 6 of 6"),
        (b"9" + word2vec_binary(VECTORS), "is cut or damaged at word 7 of 96"),
        (b"1 3\n" + b"x" * 10_000, "is cut or damaged at word 1 of 1"),
        (gzip.compress(glove(VECTORS))[:-12], "is cut or damaged"),
    ],
)
def test_a_file_that_is_no_word_vectors_is_refused_in_one_sentence(content: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "vectors"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_word_vectors(str(file), ASKED)
    assert says in str(caught.value) and str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="absent.txt"):
        read_word_vectors(str(tmp_path / "absent.txt"), ASKED)
