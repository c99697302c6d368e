"""Tar archives as a stream, plain or compressed; an archive without its end-of-archive blocks is INCOMPLETE.

Python's tarfile stops without a word where an archive was cut between members or inside a header; so the
place where it stopped is looked at here.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, cast

from vsalign.errors import InputError, Reason
from vsalign.images.reading import Members, ReadImage, ReadOptions, failed
from vsalign.images.signatures import identify

_BLOCK = 512
_CHUNK = 1 << 18
_LARGEST_HEADER = 1 << 18
"""Bytes of one extended header (long names, attributes): tarfile would read any announced size into
memory."""
_LONGEST_TAIL = 64 << 20
"""Bytes read behind the end-of-archive blocks to check the compression's own sum; padding is a few
kilobytes."""
_EXTENDED_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
                     tarfile.GNUTYPE_LONGLINK)  # fmt: skip
_Stream = io.BufferedReader | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
_CUT = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)


class _Header(tarfile.TarInfo):
    """A member's header that refuses oversized extensions."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDED_HEADERS and self.size > _LARGEST_HEADER:
            raise tarfile.ReadError(f"an extended header of {self.size} bytes")
        return cast(tarfile.TarInfo, super()._proc_member(tar))  # type: ignore[misc]


class _Tape:
    """The uncompressed stream; its last piece is kept, so that the place where tarfile stops can be looked at."""

    def __init__(self, file: _Stream) -> None:
        self._file = file
        self._kept = b""
        self._total = 0

    def read(self, size: int) -> bytes:
        """What one read of the file gives: all that comes before a cut is handed on before the cut is met."""
        data = self._file.read1(size)
        if data:
            self._kept = self._kept[-2 * _BLOCK :] + data
            self._total += len(data)
        return data

    def rest_from(self, offset: int) -> Iterator[bytes]:
        """What was read from `offset` on, then the rest of the stream."""
        yield self._kept[max(0, len(self._kept) - (self._total - offset)) :]
        left = _LONGEST_TAIL
        while left > 0 and (data := self._file.read1(_CHUNK)):
            left -= len(data)
            yield data


def read_tar(file: io.BufferedReader, members: Members, options: ReadOptions) -> Iterator[ReadImage]:
    """Yield the tar's pictures in order; at the end one archive-level error where the archive is cut or
    damaged."""
    head = file.peek(_BLOCK)[:_BLOCK]
    tape = _Tape(_decompressed(file, head))
    current = ""
    tar = None
    try:
        tar = _opened(tape)
        while (header := _next(tar)) is not None:
            current = header.name
            if image := _read_member(tar, header, members, options):
                yield image
        if problem := _problem_at_end(tape, tar.offset):
            yield members.whole(Reason.INCOMPLETE, problem)
    except InputError as error:
        yield members.whole(error.reason, error.message)
    except _CUT as error:
        yield _damage(error, members, current, head, opened=tar is not None)
    except Exception as error:  # tarfile lets ValueError, IndexError and others out on hostile headers
        yield members.whole(Reason.INCOMPLETE, f"damaged{_after(current)} ({type(error).__name__}: {error})")


def _opened(tape: _Tape) -> tarfile.TarFile:
    return tarfile.open(
        fileobj=cast("IO[bytes]", tape),
        mode="r|",
        bufsize=_CHUNK,
        tarinfo=_Header,
        encoding="utf-8",
        errors="surrogateescape",
    )


def _decompressed(file: io.BufferedReader, head: bytes) -> _Stream:
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file, mode="rb")
    if head.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if head.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMAFile(file)
    return file


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    """The next header; what is left of the member before it is passed over in pieces that end at the file's
    end."""
    stream = cast(Any, tar.fileobj)
    if tar.firstmember is None:  # type: ignore[attr-defined]
        while (left := tar.offset - 1 - stream.tell()) > 0:
            if not stream.read(min(left, _CHUNK)):
                raise tarfile.ReadError("unexpected end of data")
    tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every header of the archive
    return tar.next()


def _read_member(
    tar: tarfile.TarFile, header: tarfile.TarInfo, members: Members, options: ReadOptions
) -> ReadImage | None:
    if header.isdir():
        return None
    member = members.admit(header.name)
    if member is None or member.error is not None:
        return member
    if header.issym() or header.islnk():
        text = f"a link to {header.linkname!r} is not followed; store the picture itself"
        return failed(member.image_id, member.uri, Reason.UNSAFE_PATH, text)
    if not header.isreg() or header.issparse():
        return failed(member.image_id, member.uri, Reason.UNSAFE_PATH, "a device, pipe or sparse file is not read")
    if header.size > options.max_member_bytes:
        return members.too_large(member, header.size, options.max_member_bytes)
    content = tar.extractfile(header)
    data = content.read() if content is not None else b""
    if len(data) < header.size:
        raise tarfile.ReadError("unexpected end of data")
    return members.filled(member, data)


def _problem_at_end(tape: _Tape, offset: int) -> str | None:
    """What is wrong where tarfile stopped: there, and to the end, there should be zeros, one block of them at
    least."""
    length = 0
    for data in tape.rest_from(offset):
        if data.count(0) != len(data):
            where = "no end-of-archive blocks follow" if length < _BLOCK else "there is data behind the end of archive"
            return f"damaged at byte {offset}: {where}; the pictures before it are kept"
        length += len(data)
    if length < _BLOCK:
        return f"cut at byte {offset + length}: no end-of-archive blocks; the pictures before it are kept"
    return None


def _damage(error: Exception, members: Members, current: str, head: bytes, *, opened: bool) -> ReadImage:
    content = identify(head).name
    compressed = head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"))
    cut = isinstance(error, EOFError) or "truncated" in str(error) or "empty" in str(error)
    if not opened and not cut and not compressed:
        text = f"not a tar, zip or Parquet file, it holds {content} ({error})"
        return members.whole(Reason.CORRUPT, text)
    return members.whole(
        Reason.INCOMPLETE, f"cut or damaged{_after(current)} ({error}); the pictures before it are kept"
    )


def _after(current: str) -> str:
    return f" in or after the member {current.encode('utf-8', 'backslashreplace').decode()!r}" if current else ""
