"""Zip archives: members by the archive's directory; encrypted, oversized and unsafe ones are errors of their own.

Where the directory is missing, as in a zip that was cut, the members before the cut are found by their own headers.
"""

from __future__ import annotations

import bz2
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator

from vsalign.errors import InputError, Reason
from vsalign.images.reading import Members, ReadImage, ReadOptions, failed

_ENCRYPTED, _SIZES_BEHIND, _UTF8 = 0x1, 0x8, 0x800
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)


def read_zip(file: io.BufferedReader, members: Members, options: ReadOptions) -> Iterator[ReadImage]:
    """Yield the zip's pictures in its directory's order.

    Where the directory is missing or damaged: those that lie whole before the cut, and then one archive-level error.
    """
    try:
        archive = zipfile.ZipFile(file)
    except InputError as error:
        yield members.whole(error.reason, error.message)
        return
    except Exception as error:  # zipfile lets struct.error, ValueError and others out on a damaged directory
        yield from _read_cut(file, members, options)
        yield members.whole(Reason.INCOMPLETE, f"the zip's directory is missing or damaged, it was cut? ({error})")
        return
    with archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            member = members.admit(info.filename)
            if member is not None and member.error is None:
                try:
                    member = _read_member(archive, info, member, members, options)
                except InputError as error:
                    # The store failed, after retries: what follows would fail as well.
                    yield members.whole(error.reason, error.message)
                    return
            if member is not None:
                yield member


def _read_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, member: ReadImage, members: Members, options: ReadOptions
) -> ReadImage | None:
    """The member with its bytes or its error; raises InputError where the store fails."""
    refused = _refused(info.flag_bits, info.compress_type, info.file_size, member, members, options)
    if refused is not None:
        return refused
    if stat.S_ISLNK(info.external_attr >> 16):
        text = "a link is not followed; store the picture itself"
        return failed(member.image_id, member.uri, Reason.UNSAFE_PATH, text)
    try:
        with archive.open(info) as content:
            # Never more than the directory states, whatever the deflated data would grow to.
            data = content.read(info.file_size + 1)
    except InputError:
        raise
    except EOFError as error:
        return failed(member.image_id, member.uri, Reason.TRUNCATED, f"the member ends early ({error})")
    except (zipfile.BadZipFile, zlib.error) as error:
        return failed(member.image_id, member.uri, Reason.CORRUPT, f"the member is damaged ({error})")
    except Exception as error:  # OSError from bz2, NotImplementedError, struct.error: all the member's fault
        return failed(member.image_id, member.uri, Reason.CORRUPT, f"the member is damaged ({error!r})")
    if len(data) < info.file_size:
        text = f"{len(data)} bytes where the directory states {info.file_size}"
        return failed(member.image_id, member.uri, Reason.TRUNCATED, text)
    return members.filled(member, data)


def _refused(
    flags: int, method: int, size: int, member: ReadImage, members: Members, options: ReadOptions
) -> ReadImage | None:
    """The error of a member that is not to be read, by its header; None for one that is."""
    if flags & _ENCRYPTED:
        text = "the member is encrypted; store it without a password"
        return failed(member.image_id, member.uri, Reason.UNSUPPORTED, text)
    if method not in _METHODS:
        text = f"compression method {method} is not read; store or deflate it"
        return failed(member.image_id, member.uri, Reason.UNSUPPORTED, text)
    if size > options.max_member_bytes:
        return members.too_large(member, size, options.max_member_bytes)
    return None


_HEADER = struct.Struct("<4s5H3I2H")
"""A local header (APPNOTE.TXT, 4.3.7): signature, version, flags, method, time, date, CRC-32, sizes (compressed and
not), lengths of the name and of the extra field."""
_SIGNATURE = b"PK\x03\x04"
_IN_64_BITS = 0xFFFFFFFF


def _read_cut(file: io.BufferedReader, members: Members, options: ReadOptions) -> Iterator[ReadImage]:
    """The members that lie whole before the cut, one after the other from the zip's first byte.

    It ends where no header follows, and at a member whose size stands behind it (a zip written as a stream) or takes
    64 bits.
    """
    whole = file.seek(0, io.SEEK_END)
    start = 0
    while start + _HEADER.size <= whole:
        file.seek(start)
        signature, _, flags, method, _, _, crc, packed, size, of_name, of_extra = _HEADER.unpack(
            file.read(_HEADER.size)
        )
        content = start + _HEADER.size + of_name + of_extra
        start = content + packed
        if signature != _SIGNATURE or flags & _SIZES_BEHIND or _IN_64_BITS in (packed, size) or start > whole:
            return
        name = file.read(of_name).decode("utf-8" if flags & _UTF8 else "cp437", "surrogateescape")
        member = None if name.endswith("/") else members.admit(name)
        if member is not None and member.error is None:
            member = _refused(flags, method, max(size, packed), member, members, options) or member
        if member is not None and member.error is None:
            file.seek(content)
            data = _unpacked(file.read(packed), method, size)
            if data is None or len(data) != size or zlib.crc32(data) != crc:
                member = failed(member.image_id, member.uri, Reason.CORRUPT, "the member is damaged")
            else:
                member = members.filled(member, data)
        if member is not None:
            yield member


def _unpacked(packed: bytes, method: int, size: int) -> bytes | None:
    """A member's content, one byte more than `size` at most, whatever it would grow to; None where it is damaged."""
    try:
        if method == zipfile.ZIP_DEFLATED:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
        return bz2.BZ2Decompressor().decompress(packed, size + 1) if method == zipfile.ZIP_BZIP2 else packed
    except (zlib.error, OSError):
        return None
