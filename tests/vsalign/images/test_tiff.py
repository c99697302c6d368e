"""TIFFs of which libtiff would give less than it says: what it leaves unwritten never becomes a picture."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vsalign.errors import InputError, Reason
from vsalign.images import DecodeOptions, decode_image

WIDTH, HEIGHT, COMPRESSION, SAMPLES, STRIP_BYTES = 256, 257, 259, 277, 279
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES = 322, 323, 324, 325
JPEG = 7


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """The TIFF (little-endian, one directory) with another value of a tag of one number."""
    changed, start = bytearray(data), struct.unpack_from("<I", data, 4)[0]
    for entry in range(struct.unpack_from("<H", data, start)[0]):
        at = start + 2 + 12 * entry
        if struct.unpack_from("<H", data, at)[0] == tag:
            struct.pack_into("<H" if changed[at + 2] == 3 else "<I", changed, at + 8, value)
            return bytes(changed)
    raise KeyError(tag)


def tiled(width: int, height: int, tiles: list[bytes], side: int = 32) -> bytes:
    """A grey TIFF of square JPEG tiles, row by row."""
    entries = 11
    lists = 8 + 2 + 12 * entries + 4
    offsets = [lists + 8 * len(tiles) + sum(map(len, tiles[:number])) for number in range(len(tiles))]
    tags = [
        (WIDTH, 4, 1, width), (HEIGHT, 4, 1, height), (258, 3, 1, 8), (COMPRESSION, 3, 1, JPEG), (262, 3, 1, 1),
        (SAMPLES, 3, 1, 1), (284, 3, 1, 1), (TILE_WIDTH, 4, 1, side), (TILE_HEIGHT, 4, 1, side),
        (TILES, 4, len(tiles), lists), (TILE_BYTES, 4, len(tiles), lists + 4 * len(tiles)),
    ]  # fmt: skip
    directory = struct.pack("<H", entries) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    numbers = struct.pack(f"<{2 * len(tiles)}I", *offsets, *map(len, tiles))
    return b"II*\0" + struct.pack("<I", 8) + directory + numbers + b"".join(tiles)


def reason_of(data: bytes, **options: Any) -> Reason:
    with pytest.raises(InputError, match=r"x\.tif") as caught:
        decode_image(data, "x.tif", DecodeOptions(**options))
    return caught.value.reason


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_a_fax_is_refused_since_its_damage_cannot_be_told(compression: str, photograph: Any, encode: Any) -> None:
    assert reason_of(encode(photograph.convert("1"), "TIFF", compression=compression)) is Reason.UNSUPPORTED
    assert decode_image(encode(photograph.convert("1"), "TIFF", compression="tiff_lzw"), "x.tif").shape == (64, 96, 3)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("strip", [1500, 1 << 20])
def test_a_jpeg_in_a_tiff_must_fill_its_strip(mode: str, strip: int, photograph: Any, encode: Any) -> None:
    data = encode(photograph.convert(mode), "TIFF", compression="jpeg", strip_size=strip)
    assert decode_image(data, "x.tif").shape == (64, 96, 3)
    assert reason_of(with_tag(data, WIDTH, 200)) is Reason.CORRUPT
    if strip > 1500:  # of several strips a taller picture lacks the last ones, which libtiff tells
        assert reason_of(with_tag(with_tag(data, HEIGHT, 90), 278, 90)) is Reason.CORRUPT
        size = Image.open(io.BytesIO(data)).tag_v2[STRIP_BYTES][0]  # type: ignore[attr-defined]
        assert reason_of(with_tag(data, STRIP_BYTES, size - 40)) is Reason.TRUNCATED


def test_jpeg_tiles_must_fill_what_is_seen_of_them(encode: Any) -> None:
    whole = [Image.new("L", (32, 32), 40 * number) for number in range(4)]
    tiles = [encode(tile, "JPEG") for tile in whole]
    decoded = decode_image(tiled(50, 40, tiles), "x.tif")
    assert decoded.shape == (40, 50, 3)
    assert np.abs(decoded[[0, 0, 39, 39], [0, 49, 0, 49], 0].astype(int) - [0, 40, 80, 120]).max() <= 1
    seen_alone = [*tiles[:3], encode(whole[3].crop((0, 0, 18, 8)), "JPEG")]
    assert decode_image(tiled(50, 40, seen_alone), "x.tif")[39, 49, 0] in (119, 120, 121)
    too_narrow = [*tiles[:3], encode(whole[3].crop((0, 0, 17, 8)), "JPEG")]
    assert reason_of(tiled(50, 40, too_narrow)) is Reason.CORRUPT
    no_jpeg = [*tiles[:3], b"\0" * 500]
    assert reason_of(tiled(50, 40, no_jpeg)) is Reason.CORRUPT


def test_a_gif_whose_frame_is_larger_than_its_canvas_is_measured_by_the_frame(photograph: Any, encode: Any) -> None:
    data = bytearray(encode(photograph.convert("P"), "GIF"))
    frame = data.index(b"\x2c\0\0\0\0", 13 + 3 * 256)
    struct.pack_into("<HH", data, frame + 5, 3000, 4000)
    assert reason_of(bytes(data), max_pixels=11_000_000) is Reason.TOO_LARGE
    assert reason_of(bytes(data), max_pixels=13_000_000) is Reason.TRUNCATED  # its pixels are not there


def test_damaged_pictures_say_nothing_on_stderr(photograph: Any, encode: Any, tmp_path: Path) -> None:
    lzw = bytearray(encode(photograph, "TIFF", compression="tiff_lzw"))
    lzw[600:700] = b"\xff" * 100
    gif = bytearray(encode(photograph.convert("P"), "GIF"))
    struct.pack_into("<HH", gif, gif.index(b"\x2c\0\0\0\0", 13 + 3 * 256) + 5, 12_000, 9_000)
    samples = with_tag(encode(photograph, "TIFF"), SAMPLES, 45_059)
    exif = encode(photograph, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01")
    for number, data in enumerate((lzw, gif, samples, exif)):
        (tmp_path / f"{number}.tif").write_bytes(data)
    code = (
        "import sys, pathlib\n"
        "from vsalign.images import DecodeOptions, decode_image\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        decode_image(pathlib.Path(path).read_bytes(), path, DecodeOptions(max_pixels=10**9))\n"
        "        print('decoded')\n"
        "    except Exception as error:\n"
        "        print(error.reason)\n"
    )
    command = [sys.executable, "-c", code, *map(str, sorted(tmp_path.iterdir()))]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["CORRUPT", "TRUNCATED", "CORRUPT", "decoded"]
    assert ended.stderr == ""
