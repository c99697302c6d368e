"""Sound pictures in every format and mode that the decoder takes: what the fuzzer begins with."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from tests.vsalign.images.conftest import png_of

SIDE = 96
"""Longest side (px): small files take more hits of a mutation where it matters, their headers."""

SAVED: list[tuple[str, str, str, dict[str, Any]]] = [
    ("jpg", "RGB", "JPEG", {}),
    ("jpg", "RGB", "JPEG", {"progressive": True, "quality": 90}),
    ("jpg", "RGB", "JPEG", {"subsampling": 0, "restart_marker_rows": 1}),
    ("jpg", "L", "JPEG", {}),
    ("jpg", "CMYK", "JPEG", {}),
    ("png", "RGB", "PNG", {}),
    ("png", "RGBA", "PNG", {}),
    ("png", "LA", "PNG", {}),
    ("png", "L", "PNG", {"transparency": 128}),
    ("png", "P", "PNG", {}),
    ("png", "P", "PNG", {"transparency": 3, "bits": 8}),
    ("png", "1", "PNG", {}),
    ("png", "I;16", "PNG", {}),
    ("gif", "P", "GIF", {}),
    ("gif", "P", "GIF", {"transparency": 5, "interlace": 1}),
    ("webp", "RGB", "WEBP", {}),
    ("webp", "RGB", "WEBP", {"lossless": True}),
    ("webp", "RGBA", "WEBP", {}),
    ("bmp", "RGB", "BMP", {}),
    ("bmp", "P", "BMP", {}),
    ("bmp", "1", "BMP", {}),
    ("tif", "RGB", "TIFF", {}),
    ("tif", "RGB", "TIFF", {"compression": "tiff_lzw"}),
    ("tif", "RGB", "TIFF", {"compression": "jpeg"}),
    ("tif", "L", "TIFF", {"compression": "jpeg", "strip_size": 2000}),
    ("tif", "RGBA", "TIFF", {"compression": "tiff_adobe_deflate"}),
    ("tif", "CMYK", "TIFF", {"compression": "packbits"}),
    ("tif", "I;16", "TIFF", {}),
    ("tif", "F", "TIFF", {}),
    ("tif", "RGB", "TIFF", {"big_tiff": True}),
    ("ppm", "RGB", "PPM", {}),
    ("pgm", "L", "PPM", {}),
    ("pgm", "I", "PPM", {}),
]
"""Ending, mode, format and options of Pillow's `save`."""


def originals(photographs: Sequence[Image.Image]) -> list[tuple[str, bytes]]:
    """(ending, bytes) of each picture in each format."""
    return [file for photograph in photographs for file in _files(photograph)]


def photographs(folder: Path | None, count: int, rng: np.random.Generator) -> list[Image.Image]:
    """Pictures to encode, SIDE px at most: photographs of `folder`, or without one smooth noise."""
    if folder is None:
        noise = rng.integers(0, 256, (count, 9, 12, 3), dtype=np.uint8)
        return [Image.fromarray(each).resize((SIDE, 72), Image.Resampling.BICUBIC) for each in noise]
    found = []
    for path in sorted(folder.glob("*.jpg"))[:count]:
        image = Image.open(path).convert("RGB")
        image.thumbnail((SIDE, SIDE))
        found.append(image)
    return found


def _files(photograph: Image.Image) -> Iterator[tuple[str, bytes]]:
    for ending, mode, kind, options in SAVED:
        yield ending, saved(_in_mode(photograph, mode), kind, **options)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for ending, kind in (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF")):
        yield ending, saved(photograph, kind, exif=exif(6), icc_profile=profile)
    turned = [photograph.rotate(90 * turn) for turn in range(3)]
    yield "gif", saved(turned[0], "GIF", save_all=True, append_images=turned[1:])
    yield "webp", saved(turned[0], "WEBP", save_all=True, append_images=turned[1:])
    yield "png", _png_of_16_bits(photograph)


def exif(orientation: int) -> bytes:
    """EXIF that turns the picture, and a camera's name."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = orientation, "a camera"
    return tags.tobytes()


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The picture as a file's bytes."""
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def large_png(width: int, height: int) -> bytes:
    """A white PNG of one bit a pixel: a few kilobytes for tens of megapixels."""
    return png_of(width, height, 1, 0, [b"\xff" * ((width + 7) // 8)] * height)


def _in_mode(photograph: Image.Image, mode: str) -> Image.Image:
    if mode in ("I;16", "I", "F"):
        grey = np.asarray(photograph.convert("L"))
        kind, factor = {"I;16": ("u2", 257), "I": ("i4", 257), "F": ("f4", 1 / 255)}[mode]
        return Image.fromarray((grey.astype(np.float64) * factor).astype(kind))
    if mode in ("RGBA", "LA"):
        alpha = Image.linear_gradient("L").resize(photograph.size)
        photograph = photograph.copy()
        photograph.putalpha(alpha)
    return photograph.convert(mode)


def _png_of_16_bits(photograph: Image.Image) -> bytes:
    """Deep colour, which Pillow reads and does not write."""
    deep = np.asarray(photograph).astype(">u2") * 257
    return png_of(*photograph.size, 16, 2, [row.astype(">u2").tobytes() for row in deep])
