"""Folders and globs to the files in them, in sorted order, one folder's listing in memory at a time."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass

from vsalign.errors import InputError, MissingInputError
from vsalign.images import locations, names
from vsalign.images.locations import Entry
from vsalign.images.retrying import Retry

_MAGIC = re.compile(r"[*?\[]")
_ANY_DEPTH = "**"


@dataclass(frozen=True)
class Found:
    """A file below an input's root: its URI, its path `relative` to the root, and what stands against reading
    it."""

    uri: str
    relative: str
    is_link_away: bool = False
    is_special: bool = False
    is_archive: bool = False
    error: InputError | None = None


def is_glob(uri: str) -> bool:
    """Whether a URI's path holds one of * ? [."""
    return bool(_MAGIC.search(locations.path_of(uri)))


def folder_of_glob(pattern: str) -> str:
    """The deepest folder that a glob names without magic; image ids are paths below it."""
    folder = pattern
    while is_glob(folder):
        folder = locations.parent(folder)
    return folder


def walk(root: str, retry: Retry, relative: str = "", top: str = "") -> Iterator[Found]:
    """Every file below the folder `root`, depth first, sorted by name within each folder.

    A folder that cannot be listed is one Found with its error; the root itself raises MissingInputError. Links are
    judged against `top` (default: `root`).
    """
    top = top or root
    waiting: list[Iterator[Entry]] = []
    prefixes = [relative]
    listed = _entries(root, relative, retry, top)
    if isinstance(listed, Found):
        yield listed
        return
    waiting.append(listed)
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
            prefixes.pop()
            continue
        path = f"{prefixes[-1]}/{entry.name}" if prefixes[-1] else entry.name
        if not entry.is_folder:
            yield _found(entry, path)
            continue
        listed = _entries(entry.uri, path, retry, top)
        if isinstance(listed, Found):
            yield listed
        else:
            waiting.append(listed)
            prefixes.append(path)


def _entries(uri: str, relative: str, retry: Retry, top: str) -> Iterator[Entry] | Found:
    try:
        return iter(locations.entries(uri, retry, top))
    except InputError as error:
        if not relative:
            raise MissingInputError(f"the input {error.message}") from error
        return Found(uri, relative, error=error)


def _found(entry: Entry, path: str) -> Found:
    return Found(entry.uri, path, is_link_away=entry.is_link_away, is_special=entry.is_special)


def expand_glob(pattern: str, retry: Retry) -> Iterator[Found]:
    """The files that match, and all files below the folders that match; `**` stands for any number of
    folders.

    Only folders that can match are listed, so that a pattern over a large bucket costs what it selects.
    """
    top = folder_of_glob(pattern)
    parts = pattern[len(top) :].strip("/").split("/")
    seen = names.SeenNames()
    for number, found in enumerate(_match(top, "", parts, retry, top)):
        # `**` reaches a file by more than one way.
        repeated = found.error is None and _ANY_DEPTH in parts and seen.add(found.relative, "", number) is not None
        if not repeated:
            yield found


def _match(folder: str, relative: str, parts: list[str], retry: Retry, top: str) -> Iterator[Found]:
    part, rest = parts[0], parts[1:]
    if part == _ANY_DEPTH:
        if not rest:
            yield from walk(folder, retry, relative, top)
            return
        yield from _match(folder, relative, rest, retry, top)
    listed = _entries(folder, relative, retry, top)
    if isinstance(listed, Found):
        yield listed
        return
    matches = re.compile(fnmatch.translate(part)).match
    for entry in listed:
        path = f"{relative}/{entry.name}" if relative else entry.name
        if part == _ANY_DEPTH:
            if entry.is_folder:
                yield from _match(entry.uri, path, parts, retry, top)
        elif matches(entry.name):
            if entry.is_folder:
                yield from (_match(entry.uri, path, rest, retry, top) if rest else walk(entry.uri, retry, path, top))
            elif not rest:
                yield _found(entry, path)
