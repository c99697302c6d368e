"""A seeded source of archives: sound ones of damaged pictures and hostile members, and ones that are damaged too."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.mutants import Mutants, Rng
from tests.conftest import mutated

KINDS = ("tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "zip", "parquet")
APPLE_DOUBLE = b"\x00\x05\x16\x07"
TYPES = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE)
BOMB = 300 << 20
"""Bytes of zeros, above the limit for one picture."""


@dataclass(frozen=True)
class Member:
    """A member to be packed; `inputs` is how many inputs it must be counted as, 0 or 1."""

    name: str
    data: bytes
    inputs: int = 1
    kind: bytes = tarfile.REGTYPE


@dataclass(frozen=True)
class Archive:
    """An archive's ending and bytes, its mutants (itself where damaged, and its members), and its inputs where sure."""

    ending: str
    data: bytes
    mutants: int
    inputs: int | None


def archive(mutants: Mutants, rng: Rng, members: int) -> Archive:
    """An archive of `members` damaged pictures; one in two has its own structure damaged too, or is none at all."""
    kind = KINDS[rng.integers(len(KINDS))]
    packed = _members(mutants, rng, members, kind)
    inputs = sum(member.inputs for member in packed)
    choice = rng.random()
    if choice < 0.5:
        ending = kind if rng.random() < 0.9 else KINDS[rng.integers(len(KINDS))]  # told by content, not by name
        return Archive(ending, pack(packed, kind, rng), members, inputs)
    if choice < 0.92:
        return Archive(kind, _damaged(packed, kind, rng), members + 1, None)
    if choice < 0.94:
        return Archive(*_bomb(("tar.gz", "zip")[rng.integers(2)]))
    return Archive(kind, mutants.picture(rng)[1][:3000], 1, None)


def pack(members: list[Member], kind: str, rng: Rng, spoil: Callable[[bytes, Rng], bytes] | None = None) -> bytes:
    """An archive; `spoil` changes a tar before it is compressed."""
    if kind == "zip":
        return _zip(members, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)[rng.integers(3)])
    if kind == "parquet":
        return _parquet(members, rng)
    data = _tar(members, (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)[rng.integers(3)])
    data = spoil(data, rng) if spoil else data
    packers: dict[str, Callable[[bytes], bytes]] = {"tar": bytes, "tar.bz2": bz2.compress, "tar.xz": lzma.compress}
    return packers.get(kind, gzip.compress)(data)


def _members(mutants: Mutants, rng: Rng, count: int, kind: str) -> list[Member]:
    found = []
    for number in range(count):
        ending, data = mutants.picture(rng) if rng.random() < 0.8 else mutants.original(rng)
        name = f"{('', 'a/', 'long/' * 40, 'é/', 'b c/')[rng.integers(5)]}{number}.v1.{ending}"
        found.append(Member(name, data, int(not data.startswith(APPLE_DOUBLE))))
    if kind != "parquet":
        found += [member for member in _hostile(found[0]) if rng.random() < 0.15]
    return found


def _hostile(first: Member) -> list[Member]:
    picture = first.data or b"x"
    return [
        Member("__MACOSX/._0.jpg", picture, 0),
        Member(".DS_Store", b"\0\0\0\1Bud1", 0),
        Member("notes.txt", b"no picture", 0),
        Member("._5.jpg", APPLE_DOUBLE, 0),
        Member(".hidden.jpg", b"\x01" + picture),
        Member("../../out.jpg", picture),
        Member("/absolute.jpg", picture),
        Member("C:\\windows.jpg", picture),
        Member("inner.zip", b"PK\x05\x06" + bytes(18)),
        Member("empty.jpg", b""),
        Member(first.name, b"\x02" + picture),
        Member("link.jpg", b"", 1, tarfile.SYMTYPE),
        Member("folder.jpg/", b"", 0, tarfile.DIRTYPE),
    ]


def _tar(members: list[Member], form: int) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as tar:
        for member in members:
            header = tarfile.TarInfo(member.name)
            header.type, header.size = member.kind, len(member.data)
            header.linkname = "/etc/passwd" if member.kind == tarfile.SYMTYPE else ""
            tar.addfile(header, io.BytesIO(member.data))
    return sink.getvalue()


def _zip(members: list[Member], method: int) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as packed, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the member whose name is there twice
        for member in members:
            info = zipfile.ZipInfo(member.name)
            info.compress_type = method
            info.external_attr = (0o120777 if member.kind == tarfile.SYMTYPE else 0o100644) << 16
            packed.writestr(info, member.data)
    return sink.getvalue()


def _parquet(members: list[Member], rng: Rng) -> bytes:
    names = [member.name for member in members]
    data: list[object] = [member.data for member in members]
    if rng.random() < 0.5:
        data = [{"bytes": each, "path": name} for name, each in zip(names, data, strict=True)]
    sink = io.BytesIO()
    codec = ("none", "zstd", "snappy")[rng.integers(3)]
    columns = {"image": data, "label": [1] * len(data)} | ({"image_id": names} if rng.random() < 0.5 else {})
    pq.write_table(pa.table(columns), sink, row_group_size=3, compression=codec)
    return sink.getvalue()


def _damaged(members: list[Member], kind: str, rng: Rng) -> bytes:
    """The archive with its headers, its directory, its compressed stream or its end damaged."""
    way = rng.integers(4)
    if kind.startswith("t") and way == 0:
        return pack(members, kind, rng, _headers_lie)
    data = pack(members, kind, rng)
    if way == 1:
        return data[: rng.integers(len(data))]
    if way == 2:  # the directory of a zip, the footer of a Parquet file, the end of a tar
        at = max(1, len(data) - int(rng.integers(30, 800)))
        return data[:at] + mutated(data[at:], data, rng)
    for _ in range(rng.integers(1, 3)):
        data = mutated(data, data[::-1], rng)
    return data


def _headers_lie(data: bytes, rng: Rng) -> bytes:
    """One or two fields of a tar's headers changed, their checksums right again."""
    changed = bytearray(data)
    headers = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    for at in rng.choice(headers, min(2, len(headers)), replace=False):
        header = bytearray(changed[at : at + 512])
        choice = rng.integers(4)
        if choice == 0:
            sizes = (b"77777777777\0", b"00000000000\0", b"\x80" + rng.bytes(11), b"-1         \0")
            header[124:136] = sizes[rng.integers(4)]
        elif choice == 1:
            header[156:157] = (*TYPES, b"x", b"g", b"L", b"K", b"V", b"\xff")[rng.integers(12)]
        elif choice == 2:
            header[0:20] = rng.bytes(20)
        else:
            header[rng.integers(512)] = rng.integers(256)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        changed[at : at + 512] = header
    return bytes(changed)


@cache
def _bomb(kind: str) -> tuple[str, bytes, int, int | None]:
    """A few hundred kilobytes that would fill a worker's memory."""
    bomb = [Member("a.jpg", bytes(BOMB))]
    data = _zip(bomb, zipfile.ZIP_DEFLATED) if kind == "zip" else gzip.compress(_tar(bomb, tarfile.GNU_FORMAT), 1)
    return kind, data, 1, 1
