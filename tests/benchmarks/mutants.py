"""A seeded source of damaged pictures: bytes changed, cut, moved and doubled; headers that lie; metadata gone bad."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tests.benchmarks.originals import exif, large_png, saved
from tests.conftest import mutated

Rng = np.random.Generator
LIES = (0, 1, 2, 255, 3000, 9000, 30_000, 65_535, 2**31 - 1, 2**32 - 1)
"""Sizes that a header announces."""


@dataclass(frozen=True)
class Mutants:
    """Damaged pictures made of `originals` (ending, bytes)."""

    originals: Sequence[tuple[str, bytes]]

    def original(self, rng: Rng) -> tuple[str, bytes]:
        """A sound picture."""
        return self.originals[int(rng.integers(len(self.originals)))]

    def picture(self, rng: Rng) -> tuple[str, bytes]:
        """(ending, bytes) of a damaged picture; a few may still decode."""
        ending, data = self.original(rng)
        _, other = self.original(rng)
        damage = DAMAGES[rng.choice(len(DAMAGES), p=WEIGHTS)]
        return ending, damage(data, other, rng)


def bytes_changed(data: bytes, other: bytes, rng: Rng) -> bytes:
    """One to three of the changes that every test's `mutate` makes."""
    for _ in range(rng.integers(1, 4)):
        data = mutated(data, other, rng) if len(data) > 1 else data
    return data


def checksums_mended(data: bytes, other: bytes, rng: Rng) -> bytes:
    """As `bytes_changed`, but a PNG's checksums agree, so that the damage reaches the decoder."""
    return mended_png(bytes_changed(data, other, rng)) if data[:4] == b"\x89PNG" else mutated(data, other, rng)


def mended_png(data: bytes) -> bytes:
    """A PNG whose chunks, as far as they can be followed, have right checksums."""
    mended, at = bytearray(data), 8
    while at + 12 <= len(mended):
        length = struct.unpack_from(">I", mended, at)[0]
        end = at + 8 + length
        if end + 4 > len(mended):
            break
        struct.pack_into(">I", mended, end, zlib.crc32(mended[at + 4 : end]))
        at = end + 4
    return bytes(mended)


def size_lied_about(data: bytes, other: bytes, rng: Rng) -> bytes:
    """The header announces another width or height."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 3)):
        second, lie = int(rng.integers(2)), int(rng.choice(LIES))
        for start, at, step, code in SIZES:
            if data.startswith(start) and len(data) > 64:
                if start == b"\xff\xd8":
                    at = _frame(data) + 5
                bits = 8 * struct.calcsize(code)
                struct.pack_into(code, changed, at + second * step, lie & ((1 << bits) - 1))
    return mended_png(bytes(changed)) if data[:4] == b"\x89PNG" else bytes(changed)


SIZES = (
    (b"\xff\xd8", 0, 2, ">H"), (b"\x89PNG", 16, 4, ">I"), (b"GIF", 6, 2, "<H"), (b"BM", 18, 4, "<I"),
    (b"RIFF", 24, 3, "<H"), (b"II*", 18, 12, "<I"), (b"II+", 36, 20, "<I"),
)  # fmt: skip
"""A file's first bytes, where its width is, how far behind it the height, and how it is written."""


def _frame(data: bytes) -> int:
    """Where a JPEG's frame header begins, as near as a search tells."""
    return max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"), 2)


def metadata_damaged(data: bytes, other: bytes, rng: Rng) -> bytes:
    """A sound picture with damaged EXIF, and a damaged colour profile of another picture's bytes."""
    image = Image.open(io.BytesIO(data))
    profile = image.info.get("icc_profile") or other[:500]
    kind = ("JPEG", "PNG", "WEBP")[rng.integers(3)]  # Pillow parses what goes into a TIFF, and can crash over it
    tags = mutated(exif(int(rng.integers(0, 12))), other, rng)
    return saved(image.convert("RGB"), kind, exif=tags, icc_profile=mutated(profile, other, rng))


def noise(data: bytes, other: bytes, rng: Rng) -> bytes:
    """A picture's first bytes, or none, and noise behind them."""
    return data[: rng.integers(0, 64)] + rng.bytes(int(rng.integers(0, 5000)))


def something_appended(data: bytes, other: bytes, rng: Rng) -> bytes:
    """Bytes behind the picture's end: zeros, noise, another picture."""
    return data + (bytes(int(rng.integers(1, 2000))), rng.bytes(100), other)[rng.integers(3)]


def blocks_lost(data: bytes, other: bytes, rng: Rng) -> bytes:
    """A block of the disk came back as zeros."""
    changed, at = bytearray(data), int(rng.integers(len(data)))
    length = min(512, len(data) - at)
    changed[at : at + length] = bytes(length)
    return bytes(changed)


def no_picture(data: bytes, other: bytes, rng: Rng) -> bytes:
    """What lies under a picture's name in the field."""
    found = (
        b"", b"<!DOCTYPE html><html>404</html>", b"version https://git-lfs.github.com/spec/v1\n", b"GIF89a",
        b"\xff\xd8", b"%PDF-1.4\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x00\x05\x16\x07" + bytes(80),
        b"BM", b"P6 1 1", b"PK\x03\x04" + bytes(60), b"{}", b"\0" * 1000, b"\x76\x2f\x31\x01" + bytes(50),
        b"II*\0\x08\0\0\0\xff\xff",
    )  # fmt: skip
    return found[rng.integers(len(found))]


def large(data: bytes, other: bytes, rng: Rng) -> bytes:
    """A few kilobytes that decode to tens of megapixels, below and above the limit, or to a thin line."""
    return large_png(*((9400, 9400), (30_000, 30_000), (9000, 3), (2, 20_000), (1, 1))[rng.integers(5)])


Damage = Callable[[bytes, bytes, Rng], bytes]
DAMAGES: tuple[Damage, ...] = (
    bytes_changed, checksums_mended, size_lied_about, metadata_damaged, noise, something_appended, blocks_lost,
    no_picture, large,
)  # fmt: skip
WEIGHTS = (0.45, 0.14, 0.1, 0.1, 0.05, 0.05, 0.06, 0.045, 0.005)
