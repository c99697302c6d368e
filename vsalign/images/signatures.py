"""What a file is, told by its first bytes and never by its extension."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Content:
    """What some bytes are: `decoder` is JPEG, PNG, GIF, BMP, WEBP, TIFF or PPM, or "" where we cannot decode; `picture`
    whether it is one."""

    name: str
    decoder: str = ""
    picture: bool = False


# (offset, magic, what it is). The closed list of what is decoded: no PDF or EPS, which would start
# ghostscript.
_DECODED = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
)

_OTHER_PICTURES = (
    (8, b"CR\x02\0", "Canon raw (CR2)"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm raw (RAF)"),
    (0, b"IIRO", "Olympus raw (ORF)"),
    (0, b"IIRS", "Olympus raw (ORF)"),
    (0, b"MMOR", "Olympus raw (ORF)"),
    (0, b"IIU\0", "Panasonic raw (RW2)"),
    (0, b"FOVb", "Sigma raw (X3F)"),
    (0, b"8BPS", "Photoshop document (PSD)"),
    (0, b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
    (0, b"\0\0\1\0", "icon (ICO)"),
    (0, b"\0\0\2\0", "cursor (CUR)"),
    (0, b"icns", "icon (ICNS)"),
    (0, b"DDS ", "texture (DDS)"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"SIMPLE  =", "FITS"),
    (128, b"DICM", "DICOM"),
    (0, b"\xd7\xcd\xc6\x9a", "Windows metafile (WMF)"),
    (40, b" EMF", "Windows metafile (EMF)"),
    (0, b"%PDF-", "PDF document"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (0, b"gimp xcf", "GIMP document (XCF)"),
    (0, b"BPG\xfb", "BPG"),
    (0, b"FLIF", "FLIF"),
    (0, b"qoif", "QOI"),
    (0, b"AT&TFORM", "DjVu"),
    (0, b"\x01\xda\x00", "SGI image"),
    (0, b"\x01\xda\x01", "SGI image"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"),
)
_PICTURE_BRANDS = {
    b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"hevx": "HEIC", b"heim": "HEIC", b"heis": "HEIC",
    b"mif1": "HEIF", b"msf1": "HEIF", b"avif": "AVIF", b"avis": "AVIF", b"crx ": "Canon raw (CR3)",
}  # fmt: skip
_NOT_PICTURES = (
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "gzip-compressed data"),
    (257, b"ustar", "a tar archive"),
    (0, b"PAR1", "a Parquet file"),
    (4, b"ftyp", "a video"),
    (0, b"RIFF", "a sound or a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"\x00\x05\x16\x07", "an AppleDouble companion file"),
    (0, b"version https://git-lfs", "a Git LFS pointer (fetch the real file with `git lfs pull`)"),
    (0, b"{", "JSON"),
)
_SHORTEST_PREFIX = 2


def identify(data: bytes) -> Content:
    """Tell what `data` is by its content."""
    for offset, magic, name in _OTHER_PICTURES:
        if data.startswith(magic, offset):
            return Content(name, picture=True)
    for offset, magic, name in _DECODED:
        if data.startswith(magic, offset):
            return Content(name, decoder=name, picture=True)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Content("WEBP", decoder="WEBP", picture=True)
    if data[:1] == b"P" and data[1:2] in b"123456fF" and data[2:3] in (b" ", b"\t", b"\n", b"\r", b"#"):
        return Content("PPM", decoder="PPM", picture=True)
    if data[4:8] == b"ftyp" and data[8:12] in _PICTURE_BRANDS:
        return Content(_PICTURE_BRANDS[data[8:12]], picture=True)
    if markup := _markup(data):
        return markup
    for offset, magic, name in _NOT_PICTURES:
        if data.startswith(magic, offset):
            return Content(name)
    return Content("text" if _is_text(data) else f"unknown bytes {data[:8].hex(' ')}")


def is_start_of_signature(data: bytes) -> bool:
    """Whether `data` is a picture's signature cut short (2 bytes or more, so that no stray byte counts)."""
    return len(data) >= _SHORTEST_PREFIX and any(magic.startswith(data) and magic != data for _, magic, _ in _DECODED)


def _markup(data: bytes) -> Content | None:
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head.startswith(b"<"):
        return None
    if head.startswith(b"<svg") or (b"<svg" in head and b"<html" not in head and b"<body" not in head):
        return Content("SVG drawing", picture=True)
    return Content("an HTML or XML page")


def _is_text(data: bytes) -> bool:
    head = data[:256]
    return not any(byte < 9 or 13 < byte < 32 for byte in head)
