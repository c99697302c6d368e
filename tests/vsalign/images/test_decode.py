"""Every picture comes out upright, sRGB and 8-bit, or with a reason."""

from __future__ import annotations

import io
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from vsalign.errors import ConfigurationError, InputError, Reason
from vsalign.images import DecodeOptions, decode, decode_image, read_size

URI = "gs://bucket/some where/a#b.jpg"

# EXIF 2.3, tag 0x0112: what a viewer does to the stored rows.
UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


def reason_of(data: bytes, options: DecodeOptions | None = None) -> Reason:
    with pytest.raises(InputError) as caught:
        decode_image(data, URI, options or DecodeOptions())
    assert URI in caught.value.message and caught.value.uri == URI
    return caught.value.reason


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation_is_applied_first(orientation: int, fmt: str, photograph: Any, encode: Any) -> None:
    options = {"lossless": True} if fmt == "WEBP" else {}
    data = encode(photograph, fmt, exif=exif(orientation), **options)
    expected = UPRIGHT[orientation](np.asarray(photograph))
    np.testing.assert_array_equal(decode_image(data, URI), expected)
    assert read_size(data, URI) == (expected.shape[1], expected.shape[0])


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation_of_a_jpeg(orientation: int, photograph: Any, encode: Any) -> None:
    stored = decode_image(encode(photograph, "JPEG"), URI)
    data = encode(photograph, "JPEG", exif=exif(orientation))
    np.testing.assert_array_equal(decode_image(data, URI), UPRIGHT[orientation](stored))
    assert read_size(data, URI) == UPRIGHT[orientation](stored).shape[1::-1]


def test_orientation_that_means_nothing_or_damaged_exif_is_ignored(photograph: Any, encode: Any) -> None:
    plain = decode_image(encode(photograph, "JPEG"), URI)
    for tags in (exif(9), exif(0), b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage"):
        np.testing.assert_array_equal(decode_image(encode(photograph, "JPEG", exif=tags), URI), plain)


VARIANTS = [
    ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("BMP", {}), ("PPM", {}),
    ("WEBP", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
]  # fmt: skip


@pytest.mark.parametrize(("fmt", "options"), VARIANTS)
def test_cut_file_is_truncated_and_junk_behind_a_whole_one_is_not(
    fmt: str, options: dict[str, Any], photograph: Any, encode: Any
) -> None:
    data = encode(photograph, fmt, **options)
    whole = decode_image(data, URI)
    for length in (len(data) // 2, len(data) - 2, 24):
        assert reason_of(data[:length]) is Reason.TRUNCATED, length
    np.testing.assert_array_equal(decode_image(data + b"junk" * 500, URI), whole)


def test_strictness_is_not_a_process_wide_switch(photograph: Any, encode: Any) -> None:
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    reason_of(encode(photograph, "JPEG")[:-2])
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS) == before == (False, 89_478_485)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"<!DOCTYPE html><html><body>404 <svg></svg></body></html>", Reason.NOT_IMAGE),
        (b"plain text", Reason.NOT_IMAGE),
        (b"\0" * 100, Reason.NOT_IMAGE),
        (b"version https://git-lfs.github.com/spec/v1\n", Reason.NOT_IMAGE),
        (b"\0\0\0\x18ftypisom\0\0\0\0", Reason.NOT_IMAGE),
        (b"\xff\xd8", Reason.TRUNCATED),
        (b"<?xml version='1.0'?><!-- x --><svg xmlns='http://www.w3.org/2000/svg'/>", Reason.UNSUPPORTED),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Reason.UNSUPPORTED),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", Reason.UNSUPPORTED),
        (b"8BPS\0\x01" + bytes(40), Reason.UNSUPPORTED),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), Reason.UNSUPPORTED),
        (b"FUJIFILMCCD-RAW 0201", Reason.UNSUPPORTED),
        (b"%PDF-1.7\n", Reason.UNSUPPORTED),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", Reason.UNSUPPORTED),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), Reason.UNSUPPORTED),
    ],
)  # fmt: skip
def test_reason_is_told_by_content(data: bytes, reason: Reason) -> None:
    assert reason_of(data) is reason


def test_camera_raw_in_a_tiff_is_not_its_thumbnail(photograph: Any, encode: Any) -> None:
    assert reason_of(encode(photograph, "TIFF", tiffinfo={254: 1})) is Reason.UNSUPPORTED


def test_broken_pixels_are_corrupt(photograph: Any, encode: Any) -> None:
    data = bytearray(encode(photograph, "PNG"))
    at = data.index(b"IDAT") + 8
    data[at : at + 40] = bytes(40)
    assert reason_of(bytes(data)) is Reason.CORRUPT


def test_size_limit_is_told_from_the_header(encode: Any, png: Any) -> None:
    bomb = png(30_000, 30_000, 8, 0, [])
    assert len(bomb) < 1000
    assert reason_of(bomb) is Reason.TOO_LARGE
    with pytest.raises(InputError, match="30000 x 30000 px"):
        read_size(bomb, URI)
    for fmt in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"):
        data = encode(Image.new("RGB", (50, 40)), fmt)
        assert reason_of(data, DecodeOptions(max_pixels=1999)) is Reason.TOO_LARGE
        assert decode_image(data, URI, DecodeOptions(max_pixels=2000)).shape == (40, 50, 3)
    webp = bytearray(encode(Image.new("RGBA", (50, 40), (1, 2, 3, 4)), "WEBP", exif=exif(1)))
    webp[24:30] = (16_000).to_bytes(3, "little") * 2
    assert reason_of(bytes(webp)) is Reason.TOO_LARGE


def test_limit_may_be_higher_than_pillows_own(png: Any) -> None:
    wide = png(20_000, 10_000, 1, 0, [bytes(2500)] * 10_000)
    options = DecodeOptions(max_pixels=200_000_000)
    assert read_size(wide, URI, options) == (20_000, 10_000)
    with pytest.raises(ConfigurationError, match="max_pixels is 0"):
        DecodeOptions(max_pixels=0)


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000), (3, 1), (8000, 20), (20_000, 1000)])
@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "1"])
def test_thin_pictures_keep_their_shape(size: tuple[int, int], mode: str, encode: Any) -> None:
    pixels = decode_image(encode(Image.new(mode, size), "PNG"), URI)
    assert pixels.shape == (size[1], size[0], 3)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous and pixels.flags.writeable


def test_first_frame_of_an_animation(encode: Any) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue", "green")]
    for fmt, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        data = encode(frames[0], fmt, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_allclose(decode_image(data, URI)[5, 5], (255, 0, 0), atol=2)


def test_progressive_jpeg_of_endless_scans_is_refused(photograph: Any, encode: Any) -> None:
    data = encode(photograph, "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    assert reason_of(data[:start] + data[start:-2] * 1100 + data[-2:]) is Reason.TOO_LARGE


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError(), struct.error("x"), OverflowError(), SyntaxError("x")]
)
def test_whatever_a_decoder_raises_is_the_inputs_error(
    error: Exception, photograph: Any, encode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any) -> None:
        raise error

    data = encode(photograph, "PNG")
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    assert reason_of(data) is (Reason.TOO_LARGE if isinstance(error, MemoryError) else Reason.CORRUPT)


def test_many_threads_decode_as_one(photograph: Any, encode: Any, png: Any, exchanged_profile: bytes) -> None:
    files = [
        encode(photograph, fmt, icc_profile=exchanged_profile, exif=exif(n % 8 + 1))
        for n in range(8)
        for fmt in ("PNG", "JPEG")
    ]
    files += [files[1][:-2], png(30_000, 30_000, 8, 0, []), b"<html>"]

    def outcome(data: bytes) -> Any:
        try:
            return decode_image(data, URI).tobytes()
        except InputError as error:
            return error.reason

    expected = [outcome(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, files * 8)) == expected * 8


def test_large_pictures_are_decoded_one_at_a_time_and_to_the_last_row(
    encode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (101, 90, 3), np.uint8)
    monkeypatch.setattr(decode, "_LARGE", 90 * 101 - 1)
    monkeypatch.setattr(decode, "_A_STRIP", 90 * 7 + 1)
    inside, most = [], []
    convert = decode.to_srgb

    def slowly(image: Image.Image) -> Image.Image:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        return convert(image)

    monkeypatch.setattr(decode, "to_srgb", slowly)
    data = encode(Image.fromarray(pixels), "PNG")
    smaller = encode(Image.fromarray(pixels[:100]), "PNG")
    with ThreadPoolExecutor(4) as pool:
        for decoded in pool.map(decode_image, [data] * 8, [URI] * 8):
            np.testing.assert_array_equal(decoded, pixels)
        assert max(most) == 1
        list(pool.map(decode_image, [smaller] * 8, [URI] * 8))
    assert max(most) > 1


@pytest.mark.shared
def test_photographs_come_out_as_pillow_reads_them(shared: Any) -> None:
    for path in sorted((shared / "data/flickr8k/images").glob("*.jpg"))[:50]:
        data = path.read_bytes()
        np.testing.assert_array_equal(decode_image(data, str(path)), Image.open(io.BytesIO(data)).convert("RGB"))
