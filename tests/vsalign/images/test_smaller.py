"""Decoding a JPEG at a fraction of its size: the same picture, its own width and height told, damage still found."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vsalign.errors import InputError, Reason
from vsalign.images import DecodeOptions, decode_image, decode_sized
from vsalign.regions.network import resize

SMALLER = DecodeOptions(least_side=128)


def photograph(width: int, height: int) -> Image.Image:
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=95, **options)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("width", "height", "factor"), [(1203, 1100, 8), (640, 512, 4), (511, 256, 2), (300, 200, 1), (2000, 120, 1)]
)
def test_both_sides_keep_what_is_asked_for(width: int, height: int, factor: int) -> None:
    pixels, size = decode_sized(jpeg(photograph(width, height)), "a.jpg", SMALLER)
    assert size == (width, height)
    assert pixels.shape == (-(-height // factor), -(-width // factor), 3)
    assert min(pixels.shape[:2]) >= min(128, width, height)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_what_the_network_sees_is_nearly_the_same(options: dict[str, bool]) -> None:
    data = jpeg(photograph(1024, 768), **options)
    whole = resize(decode_image(data, "a.jpg"), 64).numpy().astype(int)
    smaller = resize(decode_sized(data, "a.jpg", SMALLER)[0], 64).numpy().astype(int)
    assert np.abs(whole - smaller).mean() < 1 and np.abs(whole - smaller).max() < 12
    assert whole.std() > 30


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_picture_is_turned_and_its_size_too(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(photograph(1024, 512), exif=exif)
    whole = decode_image(data, "a.jpg")
    pixels, size = decode_sized(data, "a.jpg", SMALLER)
    assert size == (whole.shape[1], whole.shape[0])
    assert pixels.shape[1] * 4 == size[0]
    assert np.abs(resize(whole, 64).numpy().astype(int) - resize(pixels, 64).numpy().astype(int)).mean() < 1


def test_pictures_in_cmyk_and_grey_are_rgb_still() -> None:
    for mode in ("CMYK", "L"):
        pixels, size = decode_sized(jpeg(photograph(1024, 1024).convert(mode)), "a.jpg", SMALLER)
        assert (pixels.shape, size) == ((128, 128, 3), (1024, 1024))


def test_other_formats_are_decoded_whole() -> None:
    sink = io.BytesIO()
    photograph(1024, 512).save(sink, "PNG")
    pixels, size = decode_sized(sink.getvalue(), "a.png", SMALLER)
    assert (pixels.shape, size) == ((512, 1024, 3), (1024, 512))


def test_a_cut_file_is_found_out() -> None:
    data = jpeg(photograph(1024, 1024))
    with pytest.raises(InputError) as error:
        decode_sized(data[: len(data) // 2], "a.jpg", SMALLER)
    assert error.value.reason is Reason.TRUNCATED


def test_the_limit_is_of_the_pictures_own_size() -> None:
    with pytest.raises(InputError) as error:
        decode_sized(jpeg(photograph(1024, 1024)), "a.jpg", DecodeOptions(max_pixels=10_000, least_side=128))
    assert error.value.reason is Reason.TOO_LARGE
