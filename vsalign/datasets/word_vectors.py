"""Word vectors as word2vec (text or binary) and GloVe (text) publish them; also gzipped, also at a URL.

A file is told by its content. word2vec begins with the numbers of words and of dimensions; its binary form holds for
each word its name, a blank and float32 numbers. GloVe has a line a word from the first on, and names that hold blanks.
"""

from __future__ import annotations

import contextlib
import gzip
import io
from collections.abc import Collection, Iterator
from typing import IO, Any

import numpy as np

from vsalign.datasets.files import open_bytes
from vsalign.errors import ConfigurationError

BUFFER, LONGEST_NAME = 1 << 20, 4096
"""Bytes; a line is no longer than the buffer, and published files stay far below both. A guess."""
MOST_DIMENSIONS = 1 << 16
"""A guess; published vectors have 50 to 1,000."""
GZIP = b"\x1f\x8b"


def read_word_vectors(path: str, words: Collection[str]) -> dict[str, np.ndarray]:
    """The vectors (D,) float32 of those of `words` that the file has; memory holds no others.

    A word that is there in another case alone ("paris" asked for, "Paris" given) takes the first such one's; a word
    given twice its first. Raises MissingInputError, and ConfigurationError where the file is none of the formats, is
    cut, or holds a number that is not finite.
    """
    asked = set(words)
    lower: dict[str, list[str]] = {}
    for word in asked:
        lower.setdefault(word.lower(), []).append(word)
    exact: dict[str, np.ndarray] = {}
    other: dict[str, np.ndarray] = {}
    for name, vector in _vectors(path, lower):
        if not np.isfinite(vector).all():
            raise ConfigurationError(
                f"{path}: the vector of {name!r} holds a number that is not finite; mend the file."
            )
        if name in asked:
            exact.setdefault(name, vector)
        for word in lower[name.lower()]:
            other.setdefault(word, vector)
    return other | exact


def vector_size(path: str) -> int:
    """D, told by the beginning of the file; raises as `read_word_vectors`."""
    return _form(path)[2]


def _vectors(path: str, wanted: Collection[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, vector) of every entry whose name is, lower-case, in `wanted`."""
    text, count, dim = _form(path)
    with _unpacked(path) as file:
        if count is not None:
            file.readline()
        if text:
            yield from _text(file, path, wanted, dim, 1 if count is None else 2)
        else:
            yield from _binary(file, path, wanted, count or 0, dim)


@contextlib.contextmanager
def _unpacked(path: str) -> Iterator[io.BufferedReader]:
    with open_bytes(path) as raw:
        start = raw.read(2)
        raw.seek(0)
        unpacked: Any = gzip.GzipFile(fileobj=raw) if start == GZIP else raw
        try:
            with io.BufferedReader(unpacked, BUFFER) as file:
                yield file
        except (EOFError, gzip.BadGzipFile) as error:
            raise ConfigurationError(f"{path} is cut or damaged ({error}); download it again.") from error


def _form(path: str) -> tuple[bool, int | None, int]:
    """Whether the entries are lines of text, the number of words where the file announces it, and D."""
    with _unpacked(path) as file:
        first, second = file.readline(BUFFER), file.readline(BUFFER)
    header = first.split()
    if len(header) == 2 and all(part.isdigit() for part in header):
        if not 0 < int(header[1]) <= MOST_DIMENSIONS:
            raise ConfigurationError(f"{path} announces vectors of {int(header[1])} numbers: it holds no word vectors.")
        return _is_line(second, int(header[1])), int(header[0]), int(header[1])
    if not _is_line(first, len(header) - 1):
        raise ConfigurationError(f"{path} is no file of word vectors: give word2vec's (text or binary) or GloVe's.")
    return True, None, len(header) - 1


def _is_line(line: bytes, dim: int) -> bool:
    """Whether a line is a name and `dim` numbers."""
    try:
        [float(part) for part in line.split()[-dim:]]
    except ValueError:
        return False
    return dim > 1 and len(line.split()) > dim


def _text(
    file: IO[bytes], path: str, wanted: Collection[str], dim: int, first: int
) -> Iterator[tuple[str, np.ndarray]]:
    for number, line in enumerate(iter(lambda: file.readline(BUFFER), b""), first):
        parts = line.rstrip(b" \r\n").rsplit(b" ", dim)
        name = parts[0].decode(errors="replace")
        if len(parts) == dim + 1 and name.lower() not in wanted:
            continue
        try:
            vector = np.array(parts[1:], dtype=np.float32)
        except ValueError:
            vector = np.empty(0, np.float32)
        if len(vector) != dim:
            raise ConfigurationError(f"{path}, line {number}: not a word and {dim} numbers; download the file again.")
        yield name, vector


def _binary(
    file: io.BufferedReader, path: str, wanted: Collection[str], count: int, dim: int
) -> Iterator[tuple[str, np.ndarray]]:
    for number in range(1, count + 1):
        name = bytearray()
        while (byte := file.read(1)) not in (b" ", b""):
            if byte != b"\n" or name:
                name += byte
            if len(name) > LONGEST_NAME:
                break
        data = file.read(4 * dim)
        if byte != b" " or len(data) != 4 * dim:
            raise ConfigurationError(f"{path} is cut or damaged at word {number} of {count}; download it again.")
        word = name.decode(errors="replace")
        if word.lower() in wanted:
            yield word, np.frombuffer(data, "<f4").astype(np.float32)
