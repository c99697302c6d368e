"""A text file of URIs, one a line, streamed: ten million lines take no more memory than ten."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from vsalign.errors import ConfigurationError, InputError, MissingInputError
from vsalign.images import locations
from vsalign.images.locations import LOCAL, SteadyReader
from vsalign.images.retrying import Retry

_LONGEST_LINE = 1 << 16
"""Bytes; the longest URI in practice is a few thousand, a binary file given by mistake has longer "lines"."""
_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


def read_list(uri: str, root: str, retry: Retry) -> Iterator[tuple[int, str, str]]:
    """Yield (line number from 1, URI, image_id) of each line that is not blank; names are literal, spaces
    kept.

    A line without a protocol that is no absolute path is below the list's own folder. The image_id is the
    URI's path without protocol (below `root`, for those that begin with it); of a relative line, the line
    itself. Raises MissingInputError where the list cannot be read, ConfigurationError where it is no text.
    """
    folder = locations.parent(uri)
    below = root.rstrip("/") + "/" if root else ""
    try:
        with SteadyReader(uri, retry) as raw, io.BufferedReader(raw, 1 << 20) as file:
            number = 0
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if b"\0" in line or len(line) == _LONGEST_LINE:
                    raise ConfigurationError(
                        f"{uri} is not a list of URIs (line {number} is no text line): give one URI a line, or set kind"
                    )
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                text = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
                if text.strip():
                    yield number, *_resolve(text, folder, below)
    except InputError as error:
        raise MissingInputError(f"the list of URIs {error.message}") from error


def _resolve(text: str, folder: str, below: str) -> tuple[str, str]:
    """(URI, image_id) of a line."""
    relative = ""
    if not _HAS_SCHEME.match(text) and not text.startswith("/"):
        relative = text.removeprefix("./")
        text = locations.join(folder, relative)
    uri = locations.canonical(text) if locations.protocol_of(text) == LOCAL else text
    if below and uri.startswith(below):
        return uri, uri[len(below) :]
    return uri, relative or locations.path_of(uri)
