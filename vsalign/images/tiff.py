"""What Pillow and libtiff do not tell of a TIFF: that it is cut, a raw file, or leaves pixels unwritten."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator

from PIL import Image, TiffImagePlugin

from vsalign.errors import InputError, Reason
from vsalign.images import integrity

_SUBFILE, _WIDTH, _HEIGHT, _STRIPS, _ROWS_A_STRIP, _STRIP_BYTES = 254, 256, 257, 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _DNG = 322, 323, 324, 325, 50706
_FAX = ("group3", "group4", "tiff_ccitt", "tiff_raw_16")
_TYPE_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


def quieten_libtiff() -> None:
    """Keep libtiff from printing on stderr, a line a damaged row of pixels, what Pillow raises as well."""
    try:
        set_handler = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError):  # a Pillow without libtiff, or a system that hides a library's own libraries
        return
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    set_handler(None)


def refuse_unsupported(image: TiffImagePlugin.TiffImageFile) -> None:
    """Raise InputError(UNSUPPORTED) for a camera's raw file (NEF, ARW, DNG, PEF) and for a fax.

    The first picture of a raw file is only a thumbnail. Of a damaged fax libtiff gives the rows before the damage,
    leaves what was in memory in the place of the others, and reports success.
    """
    subfile = image.tag_v2.get(_SUBFILE, 0)
    if _DNG in image.tag_v2 or (isinstance(subfile, int) and subfile & 1):
        raise InputError(Reason.UNSUPPORTED, "a camera's raw file in a TIFF; convert it to JPEG, PNG or TIFF")
    if image.info.get("compression") in _FAX:
        text = "a TIFF in fax compression, in which damage cannot be told; convert it to PNG, or to a TIFF with LZW"
        raise InputError(Reason.UNSUPPORTED, text)


def require_whole(data: bytes, image: TiffImagePlugin.TiffImageFile) -> None:
    """Raise InputError: TRUNCATED where a strip or tile lies behind the file's end, CORRUPT where one holds too little.

    What a JPEG lacks that is smaller than its strip, or cut, libtiff leaves as it was in memory, and reports success.
    """
    tags = image.tag_v2
    for offsets, counts, tiled in ((_STRIPS, _STRIP_BYTES, False), (_TILES, _TILE_BYTES, True)):
        for number, (offset, count) in enumerate(_pieces(tags.get(offsets), tags.get(counts))):
            if offset + count > len(data):
                raise InputError(Reason.TRUNCATED, f"the file ends early, after {len(data)} bytes")
            if image.info.get("compression") == "jpeg":
                _require_jpeg(data[offset : offset + count], _needed(tags, number, tiled))


def _require_jpeg(data: bytes, needed: tuple[int, int]) -> None:
    size = integrity.jpeg_size(data) or (0, 0)
    if size[0] < needed[0] or size[1] < needed[1]:
        text = f"a JPEG of {size[0]} x {size[1]} px where {needed[0]} x {needed[1]} are needed"
        raise InputError(Reason.CORRUPT, f"a strip or tile of the TIFF holds {text}")
    if integrity.jpeg_is_cut(data):
        raise InputError(Reason.TRUNCATED, "the JPEG in a strip or tile of the TIFF ends early")


def _pieces(offsets: object, counts: object) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of each strip or tile, as far as the tags hold such numbers."""
    if isinstance(offsets, tuple) and isinstance(counts, tuple):
        for offset, count in zip(offsets, counts, strict=False):
            if isinstance(offset, int) and isinstance(count, int):
                yield offset, count


def _needed(tags: TiffImagePlugin.ImageFileDirectory_v2, number: int, tiled: bool) -> tuple[int, int]:
    """(width, height) in px that strip or tile `number` must fill of the picture; planes one after the other repeat
    it."""
    width, height = tags[_WIDTH], tags[_HEIGHT]
    across = tags[_TILE_WIDTH] if tiled else width
    down = tags[_TILE_HEIGHT] if tiled else min(height, tags.get(_ROWS_A_STRIP, height))
    columns, rows = -(-width // across), -(-height // down)
    left, top = number % columns * across, number // columns % rows * down
    return min(across, width - left), min(down, height - top)


def directory_is_cut(data: bytes) -> bool:
    """Whether a TIFF's first directory, or a value that it points to, lies behind the file's end."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        return True
    if data[2:4] in (b"+\0", b"\0+"):
        return len(data) < 16 or int(struct.unpack_from(order + "Q", data, 8)[0]) + 8 > len(data)
    at = int(struct.unpack_from(order + "I", data, 4)[0])
    if at + 2 > len(data):
        return True
    entries = int(struct.unpack_from(order + "H", data, at)[0])
    if at + 2 + 12 * entries > len(data):
        return True
    for entry in range(entries):
        _, kind, count, value = struct.unpack_from(order + "HHII", data, at + 2 + 12 * entry)
        size = count * _TYPE_BYTES.get(kind, 1)
        if size > 4 and value + size > len(data):
            return True
    return False
