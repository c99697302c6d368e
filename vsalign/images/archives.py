"""Planned rows to bytes: a picture's file read whole, an archive streamed member by member."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from vsalign.errors import InputError, Reason
from vsalign.images import locations, names
from vsalign.images.parquet import ARROW_FILE, ARROW_STREAM, read_parquet
from vsalign.images.reading import LITTER, Members, ReadImage, ReadOptions
from vsalign.images.sources import ARCHIVE, ERROR, SKIP
from vsalign.images.tarred import read_tar
from vsalign.images.zipped import read_zip

_BUFFER = 1 << 20
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")

DEFAULT_OPTIONS = ReadOptions()


def read_images(
    rows: Iterable[Mapping[str, str]],
    options: ReadOptions = DEFAULT_OPTIONS,
    counts: Counter[str] | None = None,
) -> Iterator[ReadImage]:
    """Read a shard's rows (of Listing) in order; what cannot be read is yielded with its error, nothing is
    raised.

    An archive yields its good members, then one error with `archive_level` where it is INCOMPLETE, CORRUPT,
    EMPTY, UNSUPPORTED, NOT_FOUND, READ_FAILED or TIMED_OUT as a whole. `counts` is counted up with what
    archives held beside pictures (OTHER), and with members and files that are LITTER: those are no inputs. Passing
    failures are tried again, an archive from the byte where it failed.
    """
    counts = counts if counts is not None else Counter()
    rows = list(rows)
    skipped = {row["uri"] for row in rows if row["kind"] == SKIP}
    for image in _read_rows((row for row in rows if row["kind"] != SKIP), options, counts):
        if image.error is not None or image.uri not in skipped:
            yield image


def _read_rows(rows: Iterable[Mapping[str, str]], options: ReadOptions, counts: Counter[str]) -> Iterator[ReadImage]:
    for row in rows:
        image_id, uri = row["image_id"], row["uri"]
        if row["kind"] == ERROR:
            yield ReadImage(image_id, uri, error=InputError(Reason(row["reason"]), row["message"], uri))
        elif row["kind"] == ARCHIVE:
            yield from _read_archive(Members(image_id, uri, counts), options)
        else:
            image = _read_file(image_id, uri, options)
            if image.data is not None and image.data.startswith(names.APPLE_DOUBLE):
                counts[LITTER] += 1
            else:
                yield image


def _read_file(image_id: str, uri: str, options: ReadOptions) -> ReadImage:
    try:
        return ReadImage(
            image_id, uri, locations.read_bytes(names.unescape(uri), options.retry, options.max_member_bytes)
        )
    except InputError as error:
        return ReadImage(image_id, uri, error=InputError(error.reason, names.escape(error.message), uri))


def _read_archive(members: Members, options: ReadOptions) -> Iterator[ReadImage]:
    """Tell by the content which archive it is, and read it."""
    try:
        with (
            locations.SteadyReader(names.unescape(members.archive_uri), options.retry) as raw,
            cast(io.BufferedReader, io.BufferedReader(raw, _BUFFER)) as file,
        ):
            head = file.peek(4)[:4]
            if not head:
                yield members.whole(Reason.EMPTY, "the archive is empty (0 bytes)")
            elif head in _ZIP_MAGICS:
                yield from read_zip(file, members, options)
            elif head in (b"PAR1", ARROW_STREAM, ARROW_FILE[:4]):
                yield from read_parquet(file, members, options)
            else:
                yield from read_tar(file, members, options)
    except InputError as error:
        yield members.whole(error.reason, names.escape(error.message))
