"""Sizes and completeness read from a file's own structure, where Pillow looks too late or not at all."""

from __future__ import annotations

import struct

_JPEG_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD8)))
_JPEG_EOI = 0xD9
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_GIF_EXTENSION, _GIF_FRAME = 0x21, 0x2C


def header_size(data: bytes, decoder: str) -> tuple[int, int] | None:
    """(width, height) announced by a WEBP or GIF header: Pillow allocates their canvas on opening. Otherwise
    None."""
    if decoder == "WEBP":
        return _webp_size(data)
    if decoder == "GIF" and len(data) >= 13:
        return _gif_size(data)
    return None


def is_cut(data: bytes, decoder: str) -> bool:
    """Whether the file ends before its own structure does (the first frame's, for a GIF)."""
    if decoder == "PNG":
        return _png_is_cut(data)
    if decoder == "GIF":
        return _gif_is_cut(data)
    if decoder == "WEBP":
        return len(data) < 12 or len(data) < 8 + int(struct.unpack_from("<I", data, 4)[0])
    return False


def jpeg_is_cut(data: bytes) -> bool:
    """Whether a JPEG ends before its end-of-image marker; slow (it looks at every marker), so asked after a
    failure."""
    at = 2
    while True:
        at = data.find(b"\xff", at)
        if at < 0:
            return True
        while at < len(data) and data[at] == 0xFF:
            at += 1
        if at >= len(data):
            return True
        marker = data[at]
        at += 1
        if marker == _JPEG_EOI:
            return False
        if marker == 0 or marker in _JPEG_BARE_MARKERS:
            continue
        if at + 2 > len(data):
            return True
        at += int.from_bytes(data[at : at + 2], "big")


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) that a JPEG's frame header states; None where there is none."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 if marker in _JPEG_BARE_MARKERS else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def bmp_is_cut(data: bytes) -> bool:
    """Whether a BMP that failed is shorter than its headers, or than the size it states (often stated
    wrongly)."""
    return len(data) < 54 or len(data) < int(struct.unpack_from("<I", data, 2)[0])


def _png_is_cut(data: bytes) -> bool:
    """Walk the chunks: true where one reaches behind the end, or IEND does not come."""
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if kind == b"IEND":
            return at > len(data)
    return True


def _gif_size(data: bytes) -> tuple[int, int]:
    """A GIF's canvas, widened by a first frame that reaches beyond it, as Pillow widens it."""
    width, height = struct.unpack_from("<HH", data, 6)
    at = _gif_first_frame(data)
    if at + 9 <= len(data) and data[at] == _GIF_FRAME:
        left, top, across, down = struct.unpack_from("<HHHH", data, at + 1)
        width, height = max(width, left + across), max(height, top + down)
    return width, height


def _gif_is_cut(data: bytes) -> bool:
    """Walk the blocks to the end of the first picture."""
    if len(data) < 13:
        return True
    at = _gif_first_frame(data)
    if at < len(data) and data[at] != _GIF_FRAME:
        # A trailer, or bytes that are no block: not a cut, the decoder says what it is.
        return False
    if at + 10 > len(data):
        return True
    flags = data[at + 9]
    at += 10 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    return _skip_sub_blocks(data, at + 1) > len(data)


def _gif_first_frame(data: bytes) -> int:
    """The offset of the first block that is no extension: a frame, a trailer, no block, or the end of `data`."""
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    while at < len(data) and data[at] == _GIF_EXTENSION:
        at = _skip_sub_blocks(data, at + 2)
    return at


def _skip_sub_blocks(data: bytes, at: int) -> int:
    """The offset behind the terminator, or one behind the end of `data` where it does not come."""
    while at < len(data):
        length = data[at]
        at += 1 + length
        if not length:
            return at
    return len(data) + 1


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8 " and len(data) >= 30:
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)
    return None
