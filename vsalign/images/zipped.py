"""Zip archives: members by the archive's directory; encrypted, oversized and unsafe ones are errors of their
own."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections.abc import Iterator

from vsalign.errors import InputError, Reason
from vsalign.images.reading import Members, ReadImage, ReadOptions, failed

_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)


def read_zip(file: io.BufferedReader, members: Members, options: ReadOptions) -> Iterator[ReadImage]:
    """Yield the zip's pictures in its directory's order; one archive-level error where the directory is
    missing."""
    try:
        archive = zipfile.ZipFile(file)
    except InputError as error:
        yield members.whole(error.reason, error.message)
        return
    except Exception as error:  # zipfile lets struct.error, ValueError and others out on a damaged directory
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
    if info.flag_bits & _ENCRYPTED:
        text = "the member is encrypted; store it without a password"
        return failed(member.image_id, member.uri, Reason.UNSUPPORTED, text)
    if info.compress_type not in _METHODS:
        text = f"compression method {info.compress_type} is not read; store or deflate it"
        return failed(member.image_id, member.uri, Reason.UNSUPPORTED, text)
    if stat.S_ISLNK(info.external_attr >> 16):
        text = "a link is not followed; store the picture itself"
        return failed(member.image_id, member.uri, Reason.UNSAFE_PATH, text)
    if info.file_size > options.max_member_bytes:
        return members.too_large(member, info.file_size, options.max_member_bytes)
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
