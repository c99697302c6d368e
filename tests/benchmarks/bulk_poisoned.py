"""Photographs as tar shards, a hundredth of them replaced by poisoned members of ten kinds: every one accounted for.

python -m tests.benchmarks.bulk_poisoned --images DIR --model DIR --json FILE
"""

from __future__ import annotations

import argparse
import io
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.benchmarks.record import write_record
from vsalign.storage import TableReader

IN_A_TAR = 250
Poison = Callable[[str, bytes, str], tuple[str, bytes]]
"""A member's name and bytes, and the name before it -> those of the poisoned one."""


def png(width: int, height: int, data: bytes, spoiled: bool = False) -> bytes:
    """A PNG of one IDAT chunk; spoiled: of another checksum."""

    def chunk(kind: bytes, content: bytes, error: int = 0) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) ^ error)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(data), int(spoiled)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def progressive(data: bytes) -> bytes:
    """The same picture as a progressive JPEG."""
    sink = io.BytesIO()
    Image.open(io.BytesIO(data)).save(sink, "JPEG", progressive=True)
    return sink.getvalue()


NOISE = np.random.default_rng(0).integers(0, 255, 33 * 32 * 3, np.uint8).tobytes()
POISONS: dict[str, tuple[str, Poison]] = {
    "no bytes": ("EMPTY", lambda name, data, before: (name, b"")),
    "a web page": ("NOT_IMAGE", lambda name, data, before: (name, b"<!DOCTYPE html><html>404</html>")),
    "a pointer of git-lfs": (
        "NOT_IMAGE",
        lambda name, data, before: (name, b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n"),
    ),
    "half of it": ("TRUNCATED", lambda name, data, before: (name, data[: len(data) // 2])),
    "half of a progressive one": (
        "TRUNCATED",
        lambda name, data, before: (name, (whole := progressive(data))[: len(whole) // 2]),
    ),
    "a bomb": ("TOO_LARGE", lambda name, data, before: (name, png(30_000, 30_000, bytes(1000)))),
    "a drawing": (
        "UNSUPPORTED",
        lambda name, data, before: (name, b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"),
    ),
    "a wrong checksum": ("CORRUPT", lambda name, data, before: (name, png(32, 33, NOISE, spoiled=True))),
    "a way out": ("UNSAFE_PATH", lambda name, data, before: (f"../../{name}", data)),
    "another's name": ("DUPLICATE_ID", lambda name, data, before: (before, data)),
}


def archives(images: list[Path], folder: Path) -> dict[str, str]:
    """Write the tars; the poisoned members' kinds by `tar/original name`."""
    folder.mkdir()
    poisoned: dict[str, str] = {}
    kinds = list(POISONS)
    for at in range(0, len(images), IN_A_TAR):
        before = ""
        name = f"{at // IN_A_TAR:04d}.tar"
        with tarfile.open(folder / name, "w") as tar:
            for number, path in enumerate(images[at : at + IN_A_TAR], at):
                member, data = path.name, path.read_bytes()
                if number % 100 == 57:
                    kind = kinds[number // 100 % len(kinds)]
                    poisoned[f"{name}/{path.name}"] = kind
                    member, data = POISONS[kind][1](member, data, before)
                else:
                    before = member
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return poisoned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, type=Path, help="folder of photographs (*.jpg)")
    parser.add_argument("--model", required=True, help="folder of a describer")
    parser.add_argument("--count", type=int, default=7000)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked, options = parser.parse_known_args()
    images = sorted(asked.images.glob("*.jpg"))[: asked.count]
    with tempfile.TemporaryDirectory() as place:
        poisoned = archives(images, Path(place, "tars"))
        output = str(Path(place, "table"))
        words = ["--images", str(Path(place, "tars")), "--model", asked.model, "--output", output, *options]
        subprocess.run([sys.executable, "-m", "jobs.caption_images", *words], check=True)
        table = TableReader(output, "descriptions")
        ids = table.read(["image_id"])["image_id"].to_pylist()
        reasons = Counter(table.errors()["reason"].to_pylist())
    expected = Counter(POISONS[kind][0] for kind in poisoned.values())
    good = {f"{at // IN_A_TAR:04d}.tar/{path.name}" for at, path in enumerate(images)} - set(poisoned)
    assert set(ids) == good and len(ids) == len(good), "rows are missing, made up or double"
    assert reasons == expected, (reasons, expected)
    shape = f"{len(images):,} photographs in tars, {len(poisoned)} poisoned members of {len(POISONS)} kinds"
    share = sum((reasons & expected).values()) / len(poisoned)
    write_record(
        asked.json,
        {
            "bulk.poisoned": (share, "share of the poisoned with the right reason", shape),
            "bulk.poisoned_rows": (len(ids), "rows", shape),
        },
    )


if __name__ == "__main__":
    main()
