"""What reading yields, what may be read, and which members of an archive are admitted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from vsalign.errors import ConfigurationError, InputError, Reason
from vsalign.images import names
from vsalign.images.names import APPLE_DOUBLE, Kind, SeenNames
from vsalign.images.retrying import Retry


@dataclass(frozen=True)
class ReadOptions:
    """How pictures and archives are read."""

    retries: int = 3
    """Further tries after a passing failure (a time-out, a 503, a reset connection). A guess: stores recover
    within seconds, and resume tries again later."""

    backoff: float = 0.5
    """Seconds before the first further try, doubled before each next one."""

    max_member_bytes: int = 256 << 20
    """Largest encoded picture (bytes), in an archive or alone; larger ones are TOO_LARGE. Four times the
    largest JPEG that a camera writes, and far below what would fill a worker's memory."""

    bytes_column: str = ""
    """As in ImageInput."""

    id_column: str = ""
    """As in ImageInput."""

    def __post_init__(self) -> None:
        if self.retries < 0 or self.backoff < 0:
            raise ConfigurationError(f"retries is {self.retries} and backoff {self.backoff} s: neither can be negative")
        if self.max_member_bytes < 1:
            raise ConfigurationError(f"max_member_bytes is {self.max_member_bytes}: give a number of bytes above 0")

    @property
    def retry(self) -> Retry:
        """The part that concerns passing failures."""
        return Retry(self.retries, self.backoff)


LITTER = "litter"
"""Counted: members that systems leave behind (__MACOSX/, ._a.jpg, .DS_Store...), and files like them by their bytes."""
OTHER = "other"
"""Counted: members whose extension promises no picture (.txt, .json, .cls...)."""


@dataclass(frozen=True)
class ReadImage:
    """One input as read: `data`, or the `error` that stands in its place.

    With `archive_level` the error is the whole archive's (it ended early, it cannot be opened), not one
    picture's.
    """

    image_id: str
    uri: str
    data: bytes | None = None
    error: InputError | None = None
    archive_level: bool = False
    content_hash: str = ""
    """BLAKE2b of `data`, 128 bits, in hexadecimal digits, where it was taken."""

    def content(self) -> bytes:
        """Its bytes; raises its InputError, or one (EMPTY) where it has neither."""
        if self.error is not None or self.data is None:
            raise self.error or InputError(Reason.EMPTY, f"{self.uri}: no bytes", self.uri)
        return self.data


def failed(image_id: str, uri: str, reason: Reason, text: str, *, archive_level: bool = False) -> ReadImage:
    """A ReadImage with an error whose message begins with the URI."""
    return ReadImage(image_id, uri, error=InputError(reason, f"{uri}: {text}", uri), archive_level=archive_level)


@dataclass
class Members:
    """The members of one archive: their ids and URIs, what is skipped, and names that came before.

    `archive_id` and `archive_uri` are valid UTF-8. A member's id is archive_id/member, its URI
    archive_uri!/member.
    """

    archive_id: str
    archive_uri: str
    counts: Counter[str]
    _seen: SeenNames = field(default_factory=SeenNames)
    _number: int = 0

    def admit(self, name: str, *, every_name_is_a_picture: bool = False) -> ReadImage | None:
        """The member as it will be yielded, its data still missing or its error set; None where it is
        skipped.

        Each call is one member more: two with the same path are an error that names them.
        """
        self._number += 1
        path = names.safe_path(name, foreign=True)
        image_id = f"{self.archive_id}/{names.escape(path if path is not None else name)}"
        uri = f"{self.archive_uri}!/{names.escape(path if path is not None else name)}"
        kind = Kind.PICTURE if every_name_is_a_picture else names.kind_of_name(path or name.replace("\\", "/"))
        if kind is Kind.LITTER:
            self.counts[LITTER] += 1
            return None
        if path is None:
            return failed(image_id, uri, Reason.UNSAFE_PATH, "the member's name leads out of the archive")
        if kind is Kind.OTHER:
            self.counts[OTHER] += 1
            return None
        before = self._seen.add(path, "", self._number)
        if before is not None:
            text = (
                f"members {before[1]} and {self._number} of {self.archive_uri} have the same name; "
                "the first is kept, give the other a name of its own"
            )
            return failed(image_id, uri, Reason.DUPLICATE_ID, text)
        if kind in (Kind.ARCHIVE, Kind.CLOSED_ARCHIVE):
            return failed(image_id, uri, Reason.UNSUPPORTED, "an archive inside an archive is not opened; unpack it")
        return ReadImage(image_id, uri)

    def filled(self, member: ReadImage, data: bytes) -> ReadImage | None:
        """The admitted member with its bytes; None where they show that it is litter."""
        if data.startswith(APPLE_DOUBLE):
            self.counts[LITTER] += 1
            return None
        return ReadImage(member.image_id, member.uri, data)

    def too_large(self, member: ReadImage, size: int, limit: int) -> ReadImage:
        """The member's error where it is larger than allowed."""
        text = f"{size} bytes are above the limit of {limit} for one picture: make it smaller, or leave it out"
        return failed(member.image_id, member.uri, Reason.TOO_LARGE, text)

    def whole(self, reason: Reason, text: str) -> ReadImage:
        """An error of the archive itself."""
        return failed(self.archive_id, self.archive_uri, reason, text, archive_level=True)
