"""The bytes of described pictures, wherever they are now: files, and members of archives, walked through once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vsalign.errors import InputError, Reason
from vsalign.images import ReadImage, decode_image, read_images
from vsalign.images.locations import LOCAL, canonical, join, protocol_of
from vsalign.images.names import escape, safe_path, unescape


@dataclass(frozen=True)
class Original:
    """Where a picture is: a file, or, with `archive`, a member of it, whose uri is archive!/member."""

    uri: str
    archive: str = ""

    @property
    def local_path(self) -> str:
        """The file's path on this machine; "" for a member of an archive and for any other place."""
        path = unescape(self.uri)
        return canonical(path) if not self.archive and protocol_of(path) == LOCAL and "\0" not in path else ""


def locate(row: dict[str, Any], images: str | None) -> Original:
    """Where the picture of a row (image_id, uri) is; `images`: the input root's place now, None where it never moved.

    image_id is the path below the root; for a member, the archive's path below the root, "/", the member's path.
    Raises InputError(UNSAFE_PATH) for an id that leads out of `images`.
    """
    uri, image_id = str(row["uri"]), str(row["image_id"])
    archive, archive_id, member = _split_member(uri, image_id)
    if images is None:
        return Original(uri, archive)
    if safe_path(image_id) is None:
        raise InputError(Reason.UNSAFE_PATH, f"the id {image_id!r} leads out of {images}", uri)
    root = escape(canonical(os.path.expanduser(images)))
    if not archive:
        return Original(join(root, image_id))
    return Original(f"{join(root, archive_id)}!/{member}", join(root, archive_id))


def _split_member(uri: str, image_id: str) -> tuple[str, str, str]:
    """The archive's URI, its id and the member's path; three times "" for a file, were it in a folder named "a!"."""
    at = uri.find("!/")
    while at >= 0:
        archive, member = uri[:at], uri[at + 2 :]
        archive_id = image_id.removesuffix("/" + member)
        if archive_id != image_id and archive.endswith(archive_id):
            return archive, archive_id, member
        at = uri.find("!/", at + 1)
    return "", "", ""


class OriginalReader:
    """Reads pictures; an archive stays open between calls, since a table's rows come in its members' order."""

    def __init__(self) -> None:
        self._archive = ""
        self._members: Iterator[ReadImage] = iter(())

    def read(self, originals: Iterable[Original]) -> Iterator[ReadImage]:
        """Each picture once, its bytes or its error, by `uri`; archives are read through at most once more a call."""
        archives: dict[str, set[str]] = {}
        for original in dict.fromkeys(originals):
            if original.archive:
                archives.setdefault(original.archive, set()).add(original.uri)
            else:
                yield from read_images([{"image_id": original.uri, "uri": original.uri, "kind": "image"}])
        for archive, uris in archives.items():
            yield from self._read_members(archive, uris)

    def _read_members(self, archive: str, uris: set[str]) -> Iterator[ReadImage]:
        fresh = archive != self._archive
        if fresh:
            self._open(archive)
        broken: InputError | None = None
        while uris:
            read = next(self._members, None)
            if read is None and not fresh:  # these members lie before the place reached: once more from the start
                self._open(archive)
                fresh = True
            elif read is None:
                break
            elif read.archive_level:
                broken = read.error
            elif read.uri in uris:
                uris.remove(read.uri)
                yield read
        for uri in sorted(uris):
            lost = InputError(Reason.NOT_FOUND, f"{archive} has no picture of this name", uri)
            yield ReadImage(uri, uri, error=lost if broken is None else _of_member(broken, uri))

    def _open(self, archive: str) -> None:
        self._archive = archive
        self._members = read_images([{"image_id": "", "uri": archive, "kind": "archive"}])


def pixels_of(read: ReadImage) -> np.ndarray:
    """The picture that was read, (H, W, 3) uint8 sRGB; raises InputError where it was not, or does not decode."""
    if read.error is not None or read.data is None:
        raise read.error or InputError(Reason.READ_FAILED, f"nothing came from {read.uri}", read.uri)
    return decode_image(read.data, read.uri)


def _of_member(error: InputError, uri: str) -> InputError:
    """An archive's error as that of one of its pictures."""
    return InputError(error.reason, error.message, uri)
