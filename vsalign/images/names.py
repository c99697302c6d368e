"""Names of files and archive members: made valid UTF-8, refused where unsafe, sorted into pictures, litter
and the rest."""

from __future__ import annotations

import re
from array import array
from enum import Enum

from vsalign.hashes import hash64

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip", ".parquet", ".arrow")
LIST_SUFFIXES = (".txt", ".lst")
CLOSED_ARCHIVE_SUFFIXES = (".7z", ".rar", ".tar.zst", ".tzst", ".tar.lz4")
"""Archives that may hold pictures and that we cannot open: listed as errors, so that they do not vanish."""

_OTHER_SUFFIXES_TEXT = """
.txt .lst .json .jsonl .ndjson .geojson .csv .tsv .xml .md .rst .html .htm .css .js .py .pyc .ipynb .yaml .yml
.toml .ini .cfg .conf .log .sh .bat .exe .dll .so .npy .npz .mat .pkl .pickle .pt .pth .onnx .safetensors .h5
.hdf5 .tfrecord .sqlite .db .cls .cap .caption .captions .index .idx .sha1 .sha256 .md5 .sum .lock .tmp .part
.mp4 .mov .avi .mkv .webm .m4v .mp3 .wav .flac .ogg .m4a .pdf .doc .docx .odt .xls .xlsx .ppt .pptx .gz .bz2
.xz .zst .xmp .aae .srt .vtt
"""
_LITTER_FILES_TEXT = """
.ds_store thumbs.db ehthumbs.db desktop.ini .picasa.ini picasa.ini .localized .directory .nomedia .gitkeep
.gitignore .gitattributes
"""
_LITTER_FOLDERS_TEXT = """
__macosx .ipynb_checkpoints __pycache__ .git .svn .hg @eadir .thumbnails .appledouble .trashes .spotlight-v100
.fseventsd $recycle.bin
"""
_OTHER_SUFFIXES = frozenset(_OTHER_SUFFIXES_TEXT.split())
_LITTER_FILES = frozenset((*_LITTER_FILES_TEXT.split(), "icon\r"))
_LITTER_FOLDERS = frozenset((*_LITTER_FOLDERS_TEXT.split(), "system volume information"))
APPLE_DOUBLE = b"\x00\x05\x16\x07"
"""First bytes of the companion files (._a.jpg) that macOS leaves on foreign disks and in archives."""

_DRIVE = re.compile(r"[A-Za-z]:(?:[/\\]|$)")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LOOKS_ESCAPED = re.compile(r"\\(?=x[0-9a-f]{2}|u[0-9a-f]{4})")
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4}))")


class Kind(Enum):
    """What a name promises; the content has the last word."""

    PICTURE = "picture"
    ARCHIVE = "archive"
    CLOSED_ARCHIVE = "closed archive"
    LITTER = "litter"
    OTHER = "other"


def kind_of_name(path: str) -> Kind:
    """Sort a relative path, '/' between its parts. Every name that promises nothing else is taken for a
    picture."""
    *folders, base = path.lower().split("/")
    if base.startswith("._") or base in _LITTER_FILES or any(folder in _LITTER_FOLDERS for folder in folders):
        return Kind.LITTER
    if has_suffix(base, ARCHIVE_SUFFIXES):
        return Kind.ARCHIVE
    if has_suffix(base, CLOSED_ARCHIVE_SUFFIXES):
        return Kind.CLOSED_ARCHIVE
    dot = base.rfind(".")
    return Kind.OTHER if dot > 0 and base[dot:] in _OTHER_SUFFIXES else Kind.PICTURE


def has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a name ends in one of `suffixes` (lower-case), with something before it."""
    low = name.lower()
    return any(low.endswith(suffix) and len(low) > len(suffix) for suffix in suffixes)


def escape(name: str) -> str:
    r"""A name as valid UTF-8, reversibly: an undecodable byte ff (a lone surrogate in Python) becomes `\xff`.

    A name that holds such a spelling literally has its backslash spelled `\x5c`, so that no two names become
    one; every other name stays as it is.
    """
    name = _LOOKS_ESCAPED.sub(r"\\x5c", name)
    return _SURROGATE.sub(_spell, name)


def unescape(name: str) -> str:
    """The name that `escape` was given."""
    return _ESCAPED.sub(_unspell, name) if "\\" in name else name


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _unspell(match: re.Match[str]) -> str:
    if match[2]:
        return chr(int(match[2], 16))
    byte = int(match[1], 16)
    return chr(byte if byte < 0x80 else 0xDC00 + byte)


def safe_path(name: str, *, foreign: bool = False) -> str | None:
    """A relative path without '.' and empty parts, or None where it leads out: absolute, a '..', a NUL, nothing.

    A `foreign` name, written by another system into an archive, is judged by Windows' rules too: a backslash
    parts it, a drive is absolute.
    """
    parts = re.split(r"[/\\]", name) if foreign else name.split("/")
    absolute = (not parts[0] and len(parts) > 1) or (foreign and _DRIVE.match(name))
    if absolute or ".." in parts or "\0" in name:
        return None
    return "/".join(part for part in name.split("/") if part not in ("", ".")) or None


class SeenNames:
    """Which names came before, and where: 24 bytes a slot.

    Names are kept as 64-bit hashes; among ten million the chance of one false alarm is three in a million.
    """

    _COLUMNS, _FIRST_SLOTS = 3, 1 << 10

    def __init__(self) -> None:
        self._slots = self._empty(self._FIRST_SLOTS)
        self._mask = self._FIRST_SLOTS - 1
        self._count = 0

    def add(self, name: str, content: str, position: int) -> tuple[bool, int] | None:
        """Remember `name`; None where it is new, else (whether `content` is the same as then, the position
        then)."""
        key, fingerprint = hash64(name), hash64(content)
        at = self._find(key)
        if self._slots[at]:
            return self._slots[at + 1] == fingerprint, int(self._slots[at + 2])
        self._put(at, key, fingerprint, position)
        self._count += 1
        if 3 * self._count > 2 * (self._mask + 1):
            self._grow()
        return None

    def _empty(self, slots: int) -> array[int]:
        return array("Q", (0,)) * (self._COLUMNS * slots)  # from bytes(...) there would be two of them for a moment

    def _find(self, key: int) -> int:
        slot = key & self._mask
        while self._slots[at := slot * self._COLUMNS] not in (0, key):
            slot = (slot + 1) & self._mask
        return at

    def _put(self, at: int, key: int, fingerprint: int, position: int) -> None:
        self._slots[at], self._slots[at + 1], self._slots[at + 2] = key, fingerprint, position

    def _grow(self) -> None:
        old = self._slots
        self._mask = 2 * self._mask + 1
        self._slots = self._empty(self._mask + 1)
        for at in range(0, len(old), self._COLUMNS):
            if old[at]:
                self._put(self._find(old[at]), old[at], old[at + 1], old[at + 2])
