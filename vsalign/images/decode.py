"""Bytes of a picture to pixels: strict, upright, sRGB, the same everywhere in the project."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from vsalign.errors import ConfigurationError, InputError, Reason
from vsalign.images import integrity, tiff
from vsalign.images.colour import PNG_DEPTH, to_srgb
from vsalign.images.signatures import Content, identify, is_start_of_signature

# The plugins are called by name and not through Image.open, whose bomb check is a process-wide setting and
# whose list of formats grows with whatever else is installed.
_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
}
_ORIENTATION = 0x0112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MOST_SCANS = 1000
"""A guess: cameras and encoders write about ten; each scan walks the whole picture again, so 10,000 stop a
worker."""
_LARGE = 1 << 25
"""Pixels above which pictures are decoded one at a time in a process: one of 89 megapixels takes 1 GB and more for that
moment, however many threads decode."""
_A_STRIP = 1 << 22
"""Pixels that are copied out of Pillow at a time: it makes three copies of them on the way."""
_SHORTEST_PPM = 11
"""Bytes of the smallest whole file, "P6 1 1 255" and a line end: what is shorter and fails was cut."""

# A log would fill with what single files are at fault for. (A warning of Pillow's carries the file's own numbers, so
# that Python's once-a-place rule does not hold it back.)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # the limit is max_pixels
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what it logs as an error is raised as well
tiff.quieten_libtiff()


@dataclass(frozen=True)
class DecodeOptions:
    """What may be decoded."""

    max_pixels: int = 178_956_970 // 2
    """Largest width x height (pixels) to decode; larger pictures are TOO_LARGE, told from the header. The
    default is Pillow's own limit for one quarter of a gigabyte of RGB, 89 megapixels: every camera, no
    decompression bomb."""
    least_side: int = 0
    """px that both sides of a JPEG keep at least, where libjpeg decodes it at 1/2, 1/4 or 1/8 of its size: much
    faster. 0: pictures are decoded at their own size."""

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise ConfigurationError(f"max_pixels is {self.max_pixels}: give a number of pixels above 0")


DEFAULT_OPTIONS = DecodeOptions()
ONE_LARGE: AbstractContextManager[Any] = threading.Lock()
"""Held while a large picture is decoded."""


def decode_image(data: bytes, uri: str, options: DecodeOptions = DEFAULT_OPTIONS) -> np.ndarray[Any, Any]:
    """Decode one picture (an animation's first frame) to (H, W, 3) uint8 sRGB, upright, C-contiguous,
    writable.

    EXIF orientation is applied, transparency laid on white, deep grey scaled by its depth, an embedded ICC
    profile applied (a broken one ignored). Raises InputError: EMPTY, NOT_IMAGE, UNSUPPORTED, TRUNCATED,
    CORRUPT, TOO_LARGE. Safe to call from many threads at once.
    """
    return decode_sized(data, uri, options)[0]


def decode_sized(
    data: bytes, uri: str, options: DecodeOptions = DEFAULT_OPTIONS
) -> tuple[np.ndarray[Any, Any], tuple[int, int]]:
    """`decode_image`'s pixels, fewer where `options.least_side` allows it, and the upright picture's own width and
    height, px."""
    content = _require_picture(data, uri)
    try:
        return _decode(data, content, options)
    except Exception as error:  # whatever a decoder raises on hostile bytes is this one input's fault
        raise _as_input_error(error, data, content, uri) from error


def read_size(data: bytes, uri: str, options: DecodeOptions = DEFAULT_OPTIONS) -> tuple[int, int]:
    """(width, height) in pixels of the upright picture, from its header; raises InputError as decode_image
    does."""
    content = _require_picture(data, uri)
    try:
        image = _open(data, content, options)
        width, height = image.size
        # Pillow already turns a TIFF's announced size.
        if content.decoder != "TIFF" and _orientation(image) >= 5:
            return height, width
        return width, height
    except Exception as error:  # as in decode_image
        raise _as_input_error(error, data, content, uri) from error


def _require_picture(data: bytes, uri: str) -> Content:
    if not data:
        raise InputError(Reason.EMPTY, f"{uri}: the file is empty (0 bytes)", uri)
    content = identify(data)
    if content.decoder:
        return content
    if content.picture:
        message = f"{uri}: {content.name} is not decoded; convert it to one of JPEG, PNG, WEBP or TIFF"
        raise InputError(Reason.UNSUPPORTED, message, uri)
    if is_start_of_signature(data):
        raise InputError(Reason.TRUNCATED, f"{uri}: the file ends after {len(data)} bytes", uri)
    raise InputError(Reason.NOT_IMAGE, f"{uri}: not a picture, it holds {content.name}", uri)


def _decode(data: bytes, content: Content, options: DecodeOptions) -> tuple[np.ndarray[Any, Any], tuple[int, int]]:
    image = _open(data, content, options)
    size = image.size
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tiff.require_whole(data, image)
    if integrity.is_cut(data, content.decoder):
        raise InputError(Reason.TRUNCATED, f"the file ends early, after {len(data)} bytes")
    smaller = options.least_side > 0 and image.draft(image.mode, (options.least_side,) * 2) is not None
    with ONE_LARGE if image.width * image.height > _LARGE else contextlib.nullcontext():
        image.load()
        orientation = _orientation(image)
        rgb = to_srgb(image)
        if orientation in _TRANSPOSITIONS:
            rgb = rgb.transpose(_TRANSPOSITIONS[orientation])
        pixels = _pixels(rgb)
    if not smaller:
        size = (pixels.shape[1], pixels.shape[0])
    elif orientation >= 5:
        size = (size[1], size[0])
    return pixels, size


def _pixels(rgb: Image.Image) -> np.ndarray[Any, Any]:
    """(H, W, 3) uint8 of an "RGB" picture, copied in strips of rows."""
    rows = max(1, _A_STRIP // rgb.width)
    if rgb.height <= rows:
        return np.array(rgb)
    pixels = np.empty((rgb.height, rgb.width, 3), np.uint8)
    for top in range(0, rgb.height, rows):
        bottom = min(top + rows, rgb.height)
        pixels[top:bottom] = np.asarray(rgb.crop((0, top, rgb.width, bottom)))
    return pixels


def _open(data: bytes, content: Content, options: DecodeOptions) -> ImageFile.ImageFile:
    """Read the header, and refuse by it."""
    _limit(integrity.header_size(data, content.decoder), options)
    image = _PLUGINS[content.decoder](io.BytesIO(data))
    _limit(image.size, options)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tiff.refuse_unsupported(image)
    elif content.decoder == "PNG":
        image.info[PNG_DEPTH] = data[24]
    elif image.info.get("progressive") and data.count(b"\xff\xda") > _MOST_SCANS:
        raise InputError(Reason.TOO_LARGE, f"a progressive JPEG of more than {_MOST_SCANS} scans")
    return image


def _limit(size: tuple[int, int] | None, options: DecodeOptions) -> None:
    if size is not None and size[0] * size[1] > options.max_pixels:
        raise InputError(
            Reason.TOO_LARGE,
            f"{size[0]} x {size[1]} px is above the limit of {options.max_pixels} pixels (option max_pixels)",
        )


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where it is absent or cannot be read (damaged EXIF does not spoil a
    picture)."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # the EXIF parser raises nearly anything on damaged tags
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _as_input_error(error: Exception, data: bytes, content: Content, uri: str) -> InputError:
    """What a decoder raised, as one of our reasons, with the URI in the message."""
    if isinstance(error, InputError):
        return InputError(error.reason, f"{uri}: {error.message}", uri)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return InputError(Reason.TOO_LARGE, f"{uri}: {error}", uri)
    if isinstance(error, MemoryError):
        return InputError(Reason.TOO_LARGE, f"{uri}: not enough memory to decode this {content.name}", uri)
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if _looks_cut(error, data, content.decoder):
        return InputError(
            Reason.TRUNCATED, f"{uri}: the {content.name} ends early, after {len(data)} bytes ({text})", uri
        )
    return InputError(Reason.CORRUPT, f"{uri}: the {content.name} cannot be decoded ({text})", uri)


def _looks_cut(error: Exception, data: bytes, decoder: str) -> bool:
    if decoder == "JPEG":
        return integrity.jpeg_is_cut(data)
    if "truncated" in str(error).lower():
        return True
    if decoder == "TIFF":
        return tiff.directory_is_cut(data)
    if decoder == "BMP":
        return integrity.bmp_is_cut(data)
    if decoder == "PPM":
        return len(data) < _SHORTEST_PPM
    return integrity.is_cut(data, decoder)
