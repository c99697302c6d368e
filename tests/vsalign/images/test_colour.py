"""Every mode comes out as 8-bit sRGB on white."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from vsalign.errors import InputError, Reason
from vsalign.images import decode_image

URI = "gs://bucket/a.png"


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_and_never_clipped(fmt: str, encode: Any) -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pixels = decode_image(encode(Image.fromarray(ramp), fmt), URI)
    expected = np.rint(ramp / 257).astype(np.uint8)
    np.testing.assert_array_equal(pixels, np.repeat(expected[..., None], 3, axis=2))


def test_dark_16_bit_grey_stays_dark(encode: Any) -> None:
    dim = Image.fromarray(np.full((4, 4), 200, np.uint16))
    for fmt in ("PNG", "TIFF", "PPM"):
        assert decode_image(encode(dim, fmt), URI).max() == 1


def test_32_bit_and_floating_point_grey(encode: Any) -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    expected = np.arange(256).reshape(16, 16)
    for scale in (1.0, 255.0, 65535.0):
        pixels = decode_image(encode(Image.fromarray(ramp * np.float32(scale)), "TIFF"), URI)
        np.testing.assert_allclose(pixels[..., 0], expected, atol=1)
    whole = decode_image(encode(Image.fromarray(ramp * 9000 - 4500), "TIFF"), URI)
    np.testing.assert_allclose(whole[..., 0], expected, atol=1)
    signed = np.linspace(-(2**31), 2**31 - 1, 256).astype(np.int32).reshape(16, 16)
    pixels = decode_image(encode(Image.fromarray(signed), "TIFF"), URI)
    np.testing.assert_allclose(pixels[..., 0], expected, atol=1)
    ramp[3, 3] = np.nan
    with pytest.raises(InputError, match="not finite") as caught:
        decode_image(encode(Image.fromarray(ramp), "TIFF"), URI)
    assert caught.value.reason is Reason.CORRUPT


def test_white_is_zero_16_bit_tiff_is_turned_over(encode: Any) -> None:
    data = encode(Image.fromarray(np.array([[0, 65535]], np.uint16)), "TIFF", tiffinfo={262: 0})
    assert decode_image(data, URI)[0, :, 0].tolist() == [255, 0]


def test_transparency_lies_on_white_and_hidden_colours_stay_hidden(encode: Any) -> None:
    alphas = np.array([[0, 128, 255]], np.uint8)
    red = np.zeros((1, 3, 4), np.uint8)
    red[..., 0], red[..., 3] = 255, alphas
    expected = [[255, 255, 255], [255, 127, 127], [255, 0, 0]]
    for fmt, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        pixels = decode_image(encode(Image.fromarray(red), fmt, **options), URI)
        np.testing.assert_allclose(pixels[0], expected, atol=1)
    grey_alpha = Image.fromarray(np.stack([np.zeros_like(alphas), alphas], axis=2))
    pixels = decode_image(encode(grey_alpha, "PNG"), URI)
    np.testing.assert_allclose(pixels[0, :, 0], [255, 127, 0], atol=1)


def test_palette_with_trns(encode: Any) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    graded = decode_image(encode(image, "PNG", transparency=bytes([0, 128, 255])), URI)
    np.testing.assert_allclose(graded[0], [[255, 255, 255], [127, 255, 127], [0, 0, 255]], atol=1)
    for fmt in ("PNG", "GIF"):
        pixels = decode_image(encode(image, fmt, transparency=1), URI)
        assert pixels[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]


def test_transparent_colour_of_rgb_and_grey_pngs(png: Any, chunk: Any) -> None:
    rgb = png(2, 1, 8, 2, [bytes([255, 0, 0, 255, 0, 1])], chunk(b"tRNS", struct.pack(">HHH", 255, 0, 0)))
    assert decode_image(rgb, URI)[0].tolist() == [[255, 255, 255], [255, 0, 1]]
    deep = png(2, 1, 16, 2, [struct.pack(">6H", 0x8080, 0, 0, 0, 0, 0)], chunk(b"tRNS", struct.pack(">HHH", 0, 0, 0)))
    assert decode_image(deep, URI)[0].tolist() == [[128, 0, 0], [255, 255, 255]]
    for depth, dark, light in ((2, 0, 3), (4, 0, 15), (8, 0, 255)):
        row = bytes([dark, light]) if depth == 8 else bytes([((dark << depth) | light) << (8 - 2 * depth)])
        grey = png(2, 1, depth, 0, [row], chunk(b"tRNS", struct.pack(">H", dark)))
        assert decode_image(grey, URI)[0, :, 0].tolist() == [255, 255]
        other = png(2, 1, depth, 0, [row], chunk(b"tRNS", struct.pack(">H", light)))
        assert decode_image(other, URI)[0, :, 0].tolist() == [0, 255]
    deep_grey = png(2, 1, 16, 0, [struct.pack(">HH", 7, 8000)], chunk(b"tRNS", struct.pack(">H", 7)))
    assert decode_image(deep_grey, URI)[0, :, 0].tolist() == [255, 31]


@pytest.mark.parametrize("fmt", ["JPEG", "TIFF"])
def test_cmyk_becomes_srgb(fmt: str, encode: Any) -> None:
    # Pillow writes a JPEG's CMYK inverted with Adobe's marker, and a TIFF's as it is.
    inks = {(0, 0, 0, 0): (255, 255, 255), (0, 255, 255, 0): (255, 0, 0), (0, 0, 0, 255): (0, 0, 0)}
    for ink, colour in inks.items():
        pixels = decode_image(encode(Image.new("CMYK", (16, 16), ink), fmt), URI)
        np.testing.assert_allclose(pixels[8, 8], colour, atol=3)


def test_embedded_profile_is_applied(encode: Any, exchanged_profile: bytes) -> None:
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    for fmt in ("PNG", "JPEG", "TIFF"):
        pixels = decode_image(encode(red, fmt, icc_profile=exchanged_profile), URI)
        np.testing.assert_allclose(pixels[4, 4], (0, 0, 255), atol=6)
    half = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    np.testing.assert_allclose(
        decode_image(encode(half, "PNG", icc_profile=exchanged_profile), URI)[4, 4], (127, 127, 255), atol=3
    )
    palette = red.convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_allclose(
        decode_image(encode(palette, "PNG", icc_profile=exchanged_profile), URI)[4, 4], (0, 0, 255), atol=6
    )


def test_srgb_profile_changes_nothing(photograph: Any, encode: Any) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = decode_image(encode(photograph, "PNG", icc_profile=profile), URI)
    np.testing.assert_allclose(pixels.astype(int), np.asarray(photograph), atol=1)


def test_bad_profile_is_no_error(photograph: Any, encode: Any, exchanged_profile: bytes) -> None:
    for profile in (
        b"not a profile",
        exchanged_profile[:200],
        exchanged_profile[:16] + b"CMYK" + exchanged_profile[20:],
    ):
        pixels = decode_image(encode(photograph, "PNG", icc_profile=profile), URI)
        np.testing.assert_array_equal(pixels, np.asarray(photograph))
    grey = photograph.convert("L")
    pixels = decode_image(encode(grey, "PNG", icc_profile=exchanged_profile), URI)
    np.testing.assert_array_equal(pixels[..., 0], np.asarray(grey))
