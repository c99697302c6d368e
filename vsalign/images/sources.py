"""What the user points at, and the plan of it: shards of pictures and archives, in an order that never
changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from vsalign.errors import ConfigurationError, InputError, MissingInputError, Reason
from vsalign.hashes import HashedNames
from vsalign.images import locations, names
from vsalign.images.expansion import Found, expand_glob, folder_of_glob, is_glob, walk
from vsalign.images.listfile import read_column, read_list
from vsalign.images.names import Kind
from vsalign.images.retrying import Retry

Row = dict[str, str]
InputKind = Literal["auto", "folder", "glob", "list", "archive", "parquet"]

IMAGE_PLAN = pa.schema([(name, pa.string()) for name in ("image_id", "uri", "kind", "reason", "message")])
"""A row of a plan: a picture, an archive, or an input that cannot be used (Listing yields them)."""

IMAGE, ARCHIVE, ERROR, SKIP = "image", "archive", "error", "skip"
"""A row's kind: one picture; one archive or Parquet file, read member by member; an input that cannot be used; a member
of the shard's archive that is passed over."""


@dataclass(frozen=True)
class ImageInput:
    """Where the pictures are."""

    input: str
    """A folder, a glob (* ? [ ] **), an archive (.tar, .tar.gz, .tgz, .zip), a Parquet file, a list of URIs
    (.txt or .lst, one a line), or one picture; a local path or a URL such as gs://bucket/photos. A folder or
    a list may hold archives and Parquet files too. A file or folder that really has such a name is taken
    before a glob."""

    kind: InputKind = "auto"
    """What `input` is; auto tells by what is there and by the name's ending."""

    shard_size: int = 256
    """Pictures in one shard, the unit of work and of resume; an archive is always one shard. A guess: about
    half a minute of one core's extraction, which is what a killed worker loses."""

    root: str = ""
    """For a list: what to strip from the front of each URI to make its image_id. Empty: only the protocol."""

    bytes_column: str = ""
    """For Parquet: the column of encoded pictures (binary, or struct<bytes, path>). Empty: found by type and
    name."""

    id_column: str = ""
    """For Parquet: the column of image ids. Empty: image_id, path or __key__, else the row's position."""

    uri_column: str = ""
    """The input is a CSV or Parquet file, whose column of this name lists URIs."""

    def __post_init__(self) -> None:
        if not self.input:
            raise ConfigurationError("input is empty: name a folder, glob, archive, Parquet file or list of URIs")
        if self.shard_size < 1:
            raise ConfigurationError(f"shard_size is {self.shard_size}: give a number of pictures above 0")


class Listing:
    """The planned shards of an input; iterate it (again, if need be), then read the counts of that iteration.

    A shard is a list of rows {image_id, uri, kind, reason, message}: up to `shard_size` rows of kind "image"
    or "error", or exactly one row of kind "archive". `uri` and `image_id` are valid UTF-8 (names.escape).
    Raises MissingInputError where the input is missing (at once) or holds nothing (at the end of the
    iteration).
    """

    def __init__(self, spec: ImageInput, retry: Retry | None = None) -> None:
        self.spec = spec
        self.retry = retry or Retry()
        locations.require_filesystem(spec.input)
        self.uri = locations.canonical(os.path.expanduser(spec.input))
        self.kind = self._resolve()
        self._reset()

    def _reset(self) -> None:
        self.listed = 0
        """Rows yielded: pictures, archives and errors."""
        self.archives = 0
        """Archives and Parquet files among the rows yielded."""
        self.litter = 0
        """Files that systems leave behind (.DS_Store, Thumbs.db, ._a.jpg, .ipynb_checkpoints/...),
        skipped."""
        self.other = 0
        """Files whose extension promises no picture (.txt, .json, .mp4...), pipes and devices, skipped."""
        self.links = 0
        """Local links that lead out of the input folder or to a folder inside it, not followed."""
        self.duplicates = 0
        """Repetitions of a URI, skipped."""

    def __iter__(self) -> Iterator[list[Row]]:
        self._reset()
        shard: list[Row] = []
        for row in self._rows():
            self.listed += 1
            if row["kind"] == ARCHIVE:
                self.archives += 1
                yield [row]
                continue
            shard.append(row)
            if len(shard) == self.spec.shard_size:
                yield shard
                shard = []
        if shard:
            yield shard
        if not self.listed:
            raise MissingInputError(self._nothing_found())

    def counted(self, counts: dict[str, int]) -> Iterator[list[Row]]:
        """The shards; at their end `counts` holds what is no picture: archives, and what was skipped, where any."""
        yield from self
        skipped = {name: getattr(self, name) for name in ("archives", "litter", "other", "links", "duplicates")}
        counts.update({name: count for name, count in skipped.items() if count})

    def facts(self) -> dict[str, Any]:
        """What a command records of its pictures: all that changes which they are, and their ids."""
        options = ("root", "bytes_column", "id_column", "shard_size")
        facts = {"images": self.uri, "kind": self.kind, **{name: getattr(self.spec, name) for name in options}}
        return facts | ({"uri_column": self.spec.uri_column} if self.spec.uri_column else {})

    def _resolve(self) -> str:
        """What the input is; raises MissingInputError where it is not there."""
        try:
            there = locations.kind_of(self.uri, self.retry)
        except InputError as error:
            raise MissingInputError(f"the input {error.message}") from error
        wanted = self.spec.kind
        if wanted == "glob" or (wanted == "auto" and there is None and is_glob(self.uri)):
            return "glob"
        if there is None:
            raise MissingInputError(f"there is no file or folder {self.uri}: check the input's name")
        if (wanted == "folder") != (there == "folder") and wanted != "auto":
            raise MissingInputError(f"{self.uri} is a {there}, not a {wanted}: check the input, or leave kind on auto")
        if wanted != "auto":
            return wanted
        if there == "folder":
            return "folder"
        if self.spec.uri_column:
            return "list"
        if names.has_suffix(self.uri, names.LIST_SUFFIXES):
            return "list"
        kind = names.kind_of_name(self.uri.rsplit("/", 1)[-1])
        if kind is Kind.OTHER:
            raise ConfigurationError(
                f"{self.uri} is no picture, archive, Parquet file or list of URIs (.txt, .lst) by its name: "
                "set kind to say what it is"
            )
        return "archive" if kind is Kind.ARCHIVE else "picture"

    def _rows(self) -> Iterator[Row]:
        if self.kind == "list":
            yield from self._list_rows()
            return
        if self.kind == "folder":
            found = walk(self.uri, self.retry)
        elif self.kind == "glob":
            found = expand_glob(self.uri, self.retry)
        else:
            relative = self.uri.rsplit("/", 1)[-1]
            found = iter([Found(self.uri, relative, is_archive=self.kind in ("archive", "parquet"))])
        for item in found:
            if row := self._row_of(item):
                yield row

    def _row_of(self, item: Found) -> Row | None:
        """The row of what was found, or None where it is only counted."""
        if item.error is not None:
            return _error_row(item.relative, item.uri, item.error.reason, item.error.message)
        kind = names.kind_of_name(item.relative)
        if kind is Kind.LITTER:
            self.litter += 1
        elif item.is_link_away:
            self.links += 1
        elif item.is_special or (kind is Kind.OTHER and self.kind not in ("picture", "archive", "parquet")):
            self.other += 1
        else:
            return _row(item.relative, item.uri, Kind.ARCHIVE if item.is_archive else kind)
        return None

    def _list_rows(self) -> Iterator[Row]:
        """The list is read twice: first its names' hashes, then rows; only names that come again are remembered."""
        repeated = HashedNames.of(image_id for _, _, image_id in self._lines()).repeated()
        seen = names.SeenNames()
        unit = "row" if self.spec.uri_column else "line"
        for line, uri, image_id in self._lines(count=True):
            kind = names.kind_of_name(locations.path_of(uri))
            before = seen.add(image_id, uri, line) if image_id in repeated else None
            if before is None:
                # A line was written on purpose: no extension is left out.
                yield _row(image_id, uri, Kind.PICTURE if kind is Kind.OTHER else kind)
            elif before[0]:
                self.duplicates += 1
            else:
                message = (
                    f"{uri}: {unit} {line} of {self.uri} has the image_id {image_id!r} of {unit} {before[1]}, "
                    "another URI: keep one of them, or set root so that the ids differ"
                )
                yield _error_row(image_id, uri, Reason.DUPLICATE_ID, message)

    def _lines(self, count: bool = False) -> Iterator[tuple[int, str, str]]:
        """(number, URI, image_id) of what a list names, without litter, which is counted where asked for."""
        root = locations.canonical(self.spec.root) if self.spec.root else ""
        column = self.spec.uri_column
        listed = read_column(self.uri, column, root, self.retry) if column else read_list(self.uri, root, self.retry)
        for line, uri, image_id in listed:
            if names.kind_of_name(locations.path_of(uri)) is Kind.LITTER:
                self.litter += count
            else:  # a/./x.jpg is a/x.jpg; an unsafe id is told when its row is made
                yield line, uri, names.safe_path(image_id) or image_id

    def _nothing_found(self) -> str:
        looked_for = {
            "list": "one URI a line",
            "glob": f"files that match, below {folder_of_glob(self.uri)}",
        }.get(self.kind, "pictures, archives (.tar, .tar.gz, .tgz, .zip) and Parquet files")
        return (
            f"the input {self.uri} holds nothing to read: looked for {looked_for}; skipped {self.litter} files "
            f"of litter, {self.other} with another extension, {self.links} links that lead away"
        )


def list_images(spec: ImageInput, retry: Retry | None = None) -> Listing:
    """Plan the input's shards; raises MissingInputError or ConfigurationError at once where it cannot be
    read."""
    return Listing(spec, retry)


def _row(relative: str, uri: str, kind: Kind) -> Row:
    image_id = names.safe_path(relative)
    if image_id is None:
        return _error_row(relative, uri, Reason.UNSAFE_PATH, f"{uri}: the name leads out of the input's root")
    if kind is Kind.CLOSED_ARCHIVE:
        message = f"{uri}: archives of this kind are not opened; repack it as .tar or .zip"
        return _error_row(image_id, uri, Reason.UNSUPPORTED, message)
    return {
        "image_id": names.escape(image_id),
        "uri": names.escape(uri),
        "kind": ARCHIVE if kind is Kind.ARCHIVE else IMAGE,
        "reason": "",
        "message": "",
    }


def _error_row(image_id: str, uri: str, reason: Reason, message: str) -> Row:
    return {
        "image_id": names.escape(image_id),
        "uri": names.escape(uri),
        "kind": ERROR,
        "reason": str(reason),
        "message": names.escape(message),
    }
