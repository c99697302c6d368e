"""Opening annotation files: a local path is taken literally, anything with :// goes to fsspec."""

from __future__ import annotations

import codecs
import json
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fsspec.core import url_to_fs

from vsalign.errors import ConfigurationError, MissingInputError

CHUNK = 1 << 20  # characters read at once from a JSON file that is too large to hold
MAX_ELEMENT = 64 << 20  # characters; no published element comes near, and a damaged one must not fill the memory

_AFTER_ELEMENT = frozenset(",] \t\r\n")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_url(path: str) -> bool:
    """Whether a path names a remote (fsspec) file; a local a[1].txt or a#b.txt is taken literally."""
    return "://" in path


def open_bytes(path: str) -> IO[bytes]:
    """The file's bytes; raises MissingInputError that names it where there is none."""
    try:
        if is_url(path):
            filesystem, inner = url_to_fs(path)
            return filesystem.open(inner, "rb")
        return open(path, "rb")
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise MissingInputError(f"cannot read {path} ({type(error).__name__}); check the path.") from error


def beside(path: str, ending: str) -> list[str]:
    """Files in the same folder as `path` whose names end in `ending`, sorted."""
    if is_url(path):
        filesystem, inner = url_to_fs(path)
        names = filesystem.ls(posixpath.dirname(inner), detail=False)
        return sorted(filesystem.unstrip_protocol(name) for name in names if name.endswith(ending))
    return sorted(str(file) for file in Path(path).parent.iterdir() if file.name.endswith(ending))


def file_name(path: str) -> str:
    """The last part of a path or URL."""
    return posixpath.basename(path) if is_url(path) else Path(path).name


def first_bytes(path: str, count: int = 4096) -> bytes:
    """The file's beginning; raises ConfigurationError where it cannot be UTF-8 text."""
    with open_bytes(path) as file:
        head = file.read(count)
    if head.startswith(_UTF16) or b"\0" in head:
        raise ConfigurationError(f"{path} is not UTF-8 text; give a captions or annotations file saved as UTF-8.")
    return head


def lines(path: str) -> Iterator[tuple[int, bytes]]:
    """1-based number and bytes of each line, cut at line feeds alone (captions hold others), without CR."""
    with open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            yield number, line.rstrip(b"\r\n")


def load_json(path: str) -> Any:
    """The whole of a JSON file; raises ConfigurationError where it is cut or is no JSON."""
    with open_bytes(path) as file:
        content = file.read()
    try:
        return json.loads(content.decode("utf-8-sig"))
    except ValueError as error:
        raise ConfigurationError(f"{path} is not complete UTF-8 JSON ({error}); download it again.") from error


def json_array(path: str, chunk: int = CHUNK) -> Iterator[Any]:
    """The elements of a JSON file that is one array, one by one: memory holds one element and one chunk.

    Raises ConfigurationError where the file is no array, is damaged, or is cut.
    """
    with open_bytes(path) as raw:
        text = _JsonText(codecs.getreader("utf-8-sig")(raw), path, chunk)
        if text.take() != "[":
            raise ConfigurationError(f"{path} is not a JSON array; give the published file.")
        if text.peek() == "]":
            return
        while True:
            yield text.element()
            mark = text.take()
            if mark == "]":
                return
            if mark != ",":
                raise ConfigurationError(f"{path} is damaged ({mark!r} between two elements); download it again.")


class _JsonText:
    """The part of a JSON file that was read and not yet used."""

    def __init__(self, reader: codecs.StreamReader, path: str, chunk: int) -> None:
        self._reader, self._path, self._chunk = reader, path, chunk
        self._text = ""

    def peek(self) -> str:
        """The next character that is no blank."""
        self._text = self._text.lstrip()
        while not self._text:
            self._refill()
            self._text = self._text.lstrip()
        return self._text[0]

    def take(self) -> str:
        """The next character that is no blank, used up."""
        mark = self.peek()
        self._text = self._text[1:]
        return mark

    def element(self) -> Any:
        """The next value, used up."""
        self.peek()
        while True:
            try:
                value, used = json.JSONDecoder().raw_decode(self._text)
            except ValueError:
                self._refill()
                continue
            # A number may go on in the next chunk (12|34, 0|.5): a value is whole where the array goes on.
            if self._text[used : used + 1] in _AFTER_ELEMENT:
                self._text = self._text[used:]
                return value
            self._refill()

    def _refill(self) -> None:
        if len(self._text) > MAX_ELEMENT:
            raise ConfigurationError(f"{self._path} is damaged (no end of an element found); download it again.")
        try:
            more = self._reader.read(self._chunk)
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{self._path} is not UTF-8 ({error}); download it again.") from error
        if not more:
            raise ConfigurationError(f"{self._path} ends in the middle; download it again.")
        self._text += more
