"""Pictures made in code, and the ways to write and read them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image, ImageCms

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def encode() -> Encode:
    """encode(image, format, **options) -> bytes of the file."""

    def write(image: Image.Image, fmt: str, **options: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, fmt, **options)
        return file.getvalue()

    return write


@pytest.fixture(scope="session")
def photograph() -> Image.Image:
    """A smooth picture of 96 x 64 px without any symmetry."""
    noise = np.random.default_rng(7).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((96, 64), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def dot(encode: Encode) -> Callable[[int], bytes]:
    """dot(n) -> a PNG of one pixel whose red is n, so that content can be told apart."""

    def make(number: int) -> bytes:
        return encode(Image.new("RGB", (1, 1), (number, 0, 0)), "PNG")

    return make


@pytest.fixture
def memory() -> Any:
    """An empty memory:// filesystem."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


@pytest.fixture(scope="session")
def chunk() -> Callable[[bytes, bytes], bytes]:
    """chunk(kind, body) -> a chunk of a PNG."""
    return png_chunk


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """png(width, height, depth, colour type, rows, *chunks) -> a PNG of any header, also a lying one."""
    return png_of


@pytest.fixture(scope="session")
def exchanged_profile() -> bytes:
    """The sRGB profile with its red and blue primaries exchanged: pure red means blue."""
    return red_and_blue_exchanged()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, depth: int, colour: int, rows: list[bytes], *extra: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body + png_chunk(b"IEND", b"")


def red_and_blue_exchanged() -> bytes:
    """The sRGB profile with its red and blue primaries exchanged: pure red means blue."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for at in range(132, 132 + 12 * struct.unpack_from(">I", profile, 128)[0], 12):
        name = bytes(profile[at : at + 4])
        profile[at : at + 4] = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(name, name)
    return bytes(profile)
