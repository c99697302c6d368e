"""Any Pillow mode to 8-bit sRGB: deep samples scaled by their depth, profiles applied, transparency laid on
white."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from vsalign.errors import InputError, Reason

WHITE = (255, 255, 255)
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_PROFILE_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_WHITE_IS_ZERO, _UNSIGNED, _SIGNED = 0, 1, 2
_CACHED_TRANSFORMS = 32
_LARGEST_CACHED_PROFILE = 1 << 16
"""Bytes; printers' CMYK profiles take a megabyte or more and are not worth keeping."""


def to_srgb(image: Image.Image) -> Image.Image:
    """A loaded picture of any mode as an "RGB" one; raises InputError(CORRUPT) where a sample is no
    number."""
    if image.mode == "RGB" and "transparency" not in image.info and not image.info.get("icc_profile"):
        return image
    profile = image.info.get("icc_profile")
    image, alpha = _split_alpha(image)
    rgb = _apply_profile(image, profile) if isinstance(profile, bytes) and profile else None
    if rgb is None:
        rgb = _lab_to_rgb(image) if image.mode == "LAB" else image.convert("RGB")
    if alpha is None:
        return rgb
    page = Image.new("RGB", rgb.size, WHITE)
    page.paste(rgb, mask=alpha)
    return page


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours in mode RGB, L, CMYK, LAB or such, and how opaque each pixel is ("L", 255 opaque), if it
    varies."""
    key = image.info.get("transparency")
    if image.mode in _DEEP_MODES:
        opaque = _opaque_but(np.asarray(image), key) if isinstance(key, int) else None
        return _deep_grey(image), opaque
    if image.mode in ("RGBa", "La"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.mode == "L" and isinstance(key, int):
        return _without_key(image), _opaque_but(np.asarray(image), key * 255 // _largest_sample(image))
    if image.mode == "RGB" and isinstance(key, tuple) and len(key) == 3:
        # 16-bit samples were read by their high byte, so that is what can be compared.
        high = [value >> 8 if _largest_sample(image) > 255 else value for value in key]
        return _without_key(image), _opaque_but(np.asarray(image), high)
    if image.mode in ("P", "PA", "1") and (key is not None or image.mode == "PA" or _palette_has_alpha(image)):
        image = image.convert("RGBA")
    elif image.mode == "P":
        image = image.convert("RGB")
    if image.mode == "RGBA":
        return image.convert("RGB"), image.getchannel("A")
    if image.mode == "LA":
        return image.getchannel("L"), image.getchannel("A")
    if image.mode == "1":
        return image.convert("L"), None
    return image, None


def _palette_has_alpha(image: Image.Image) -> bool:
    return image.palette is not None and image.palette.mode == "RGBA"


def _without_key(image: Image.Image) -> Image.Image:
    """The same pixels without the transparent colour, which `convert` would try to carry along."""
    image = image.copy()
    image.info.pop("transparency", None)
    return image


def _opaque_but(pixels: np.ndarray[Any, Any], key: int | list[int]) -> Image.Image:
    """Opaque except where a pixel (H, W) or (H, W, 3) equals `key`."""
    same = pixels == np.asarray(key)
    if same.ndim == 3:
        same = same.all(axis=2)
    return Image.fromarray(np.where(same, 0, 255).astype(np.uint8))


def _largest_sample(image: Image.Image) -> int:
    """The largest value that a sample had in the file: 2, 4 and 16 bits reach us as 8, transparent colours do
    not."""
    depth = image.info.get(PNG_DEPTH, 8)
    return int((1 << depth) - 1)


PNG_DEPTH = "vsalign_png_depth"
"""Key of `info` under which the decoder leaves a PNG's bits a sample."""


def _deep_grey(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits a sample to "L": scaled by its depth, never clipped."""
    pixels = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode == "F":
        scaled = _float_to_bytes(pixels)
    else:
        bits = _first(tags.get(_BITS_PER_SAMPLE), 16)
        kind = _first(tags.get(_SAMPLE_FORMAT), _UNSIGNED)
        scaled = _integers_to_bytes(pixels, bits, signed=kind == _SIGNED)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        scaled = 255 - scaled
    return Image.fromarray(scaled)


def _first(value: Any, default: int) -> int:
    if isinstance(value, tuple) and value:
        value = value[0]
    return value if isinstance(value, int) else default


def _integers_to_bytes(pixels: np.ndarray[Any, Any], bits: int, *, signed: bool) -> np.ndarray[Any, Any]:
    if bits <= 16 and not signed:
        # 65,535 x 255 fits in 32 bits: half the memory for the common kind.
        values: np.ndarray[Any, Any] = pixels.astype(np.uint32)
    else:
        values = pixels.astype(np.int64)
    if signed:
        values += 1 << (bits - 1)
    elif pixels.dtype == np.int32 and bits == 32:
        # Pillow keeps unsigned 32-bit samples in a signed mode.
        values &= 0xFFFFFFFF
    largest = max((1 << bits) - 1, int(values.max()))
    scaled: np.ndarray[Any, Any] = (values * 255 + largest // 2) // largest
    return scaled.clip(0, 255).astype(np.uint8)


def _float_to_bytes(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Floating-point grey by the smallest usual range that holds it: 0..1, 0..255, 0..65535; else its own
    range."""
    low, high = float(pixels.min()), float(pixels.max())
    if not np.isfinite([low, high]).all():
        raise InputError(Reason.CORRUPT, "it has floating-point samples that are not finite numbers")
    top = next((top for top in (1.0, 255.0, 65535.0) if low >= 0 and high <= top), None)
    if top is not None:
        low, high = 0.0, top
    scaled = (pixels.astype(np.float64) - low) * (255.0 / (high - low) if high > low else 0.0)
    return np.rint(scaled).astype(np.uint8)


def _apply_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """`image` brought from its embedded profile to sRGB, or None where the profile is broken or of another
    space."""
    mode = "L" if image.mode == "L" else image.mode
    if mode not in _PROFILE_SPACES:
        return None
    build = _cached_transform if len(profile) <= _LARGEST_CACHED_PROFILE else _transform
    try:
        transform = build(profile, mode)
        if transform is None:
            return None
        converted = transform.apply(image)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        # The usual reader shows such a picture without its profile; so do we.
        return None
    return converted


def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if source.profile.xcolor_space.strip() != _PROFILE_SPACES[mode]:
        return None
    return ImageCms.ImageCmsTransform(
        source,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


# lcms transforms may be applied by many threads at once: each call copies the transform's one-pixel cache.
_cached_transform = lru_cache(maxsize=_CACHED_TRANSFORMS)(_transform)


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    return ImageCms.ImageCmsTransform(lab, srgb, "LAB", "RGB").apply(image)
