"""A list of URIs, one a line or one a row of a column, streamed: ten million take no more memory than ten."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from vsalign.errors import ConfigurationError, InputError, MissingInputError
from vsalign.images import locations
from vsalign.images.locations import LOCAL, SteadyReader
from vsalign.images.retrying import Retry

_LONGEST_LINE = 1 << 16
"""Bytes; the longest URI in practice is a few thousand, a binary file given by mistake has longer "lines"."""
_ROWS = 10_000
"""Of a column, at once."""
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


def read_column(uri: str, column: str, root: str, retry: Retry) -> Iterator[tuple[int, str, str]]:
    """The same of a column of a CSV or Parquet file; the number is the row's, from 1, and a row of none is passed over.

    Raises MissingInputError where the file cannot be read, ConfigurationError where it has no such column of texts.
    """
    folder = locations.parent(uri)
    below = root.rstrip("/") + "/" if root else ""
    number = 0
    try:
        with SteadyReader(uri, retry) as raw, cast(io.BufferedReader, io.BufferedReader(raw, 1 << 20)) as file:
            for values in _columns(file, column):
                for text in values.to_pylist():
                    number += 1
                    if text is not None and text.strip():
                        yield number, *_resolve(text, folder, below)
    except InputError as error:
        raise MissingInputError(f"the list of URIs {error.message}") from error
    except (pa.ArrowException, KeyError, AttributeError) as error:
        raise ConfigurationError(
            f"{uri} has no column {column!r} of URIs that can be read (row {number + 1}: {error}): correct --uri-column"
        ) from error


def _columns(file: io.BufferedReader, column: str) -> Iterator[pa.Array]:
    if file.peek(4)[:4] == b"PAR1":
        for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(_ROWS, columns=[column], use_threads=False):
            yield batch.column(column).cast(pa.string())
        return
    texts = csv.ConvertOptions(include_columns=[column], column_types={column: pa.string()}, strings_can_be_null=False)
    for batch in csv.open_csv(file, csv.ReadOptions(use_threads=False), convert_options=texts):
        yield batch.column(column)


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
