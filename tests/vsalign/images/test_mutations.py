"""Hostile bytes give a picture or an InputError, never anything else, and always come to an end."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vsalign.errors import InputError, Reason
from vsalign.images import DecodeOptions, decode_image, read_images, read_size

OPTIONS = DecodeOptions(max_pixels=4_000_000)
KINDS = [
    ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}),
    ("GIF", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("BMP", {}), ("PPM", {}),
]  # fmt: skip
MUTANTS_A_KIND = 30
DECODER_REASONS = (
    Reason.TRUNCATED, Reason.CORRUPT, Reason.TOO_LARGE, Reason.NOT_IMAGE, Reason.UNSUPPORTED, Reason.EMPTY,
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(KINDS)), ids=[f"{kind}-{options}" for kind, options in KINDS])
def test_mutated_picture_decodes_or_is_an_input_error(number: int, photograph: Any, encode: Any, mutate: Any) -> None:
    fmt, options = KINDS[number]
    data = encode(photograph, fmt, **options)
    other = encode(photograph, KINDS[(number + 1) % len(KINDS)][0])
    rng = np.random.default_rng(number)
    outcomes: Counter[str] = Counter()
    for mutant in (mutate(data, other, rng) for _ in range(MUTANTS_A_KIND)):
        try:
            pixels = decode_image(mutant, "x.jpg", OPTIONS)
            assert pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
            assert read_size(mutant, "x.jpg", OPTIONS) == pixels.shape[1::-1]
            outcomes["decoded"] += 1
        except InputError as error:
            assert "x.jpg" in error.message
            outcomes[error.reason] += 1
    assert outcomes.total() == MUTANTS_A_KIND
    assert set(outcomes) <= {"decoded", *DECODER_REASONS}
    assert outcomes[Reason.TRUNCATED] > 0


def archives(photograph: Any, encode: Any) -> dict[str, bytes]:
    members = {f"{n}.{fmt.lower()}": encode(photograph, fmt) for n, fmt in enumerate(("PNG", "JPEG", "GIF", "JPEG"))}
    made = {}
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tar.bz2", "w:bz2"), ("a.tar.xz", "w:xz")):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as tar:
            for member, data in members.items():
                header = tarfile.TarInfo(("long/" * 30 if "jpeg" in member else "") + member)
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))
        made[name] = file.getvalue()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    made["a.zip"] = file.getvalue()
    file = io.BytesIO()
    pq.write_table(pa.table({"image_id": list(members), "bytes": list(members.values())}), file, row_group_size=2)
    made["a.parquet"] = file.getvalue()
    return made


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz", "a.zip", "a.parquet"])
def test_mutated_archive_yields_pictures_and_errors_only(
    name: str, photograph: Any, encode: Any, mutate: Any, tmp_path: Path
) -> None:
    data = archives(photograph, encode)[name]
    rng = np.random.default_rng(len(name))
    path = tmp_path / name
    for turn in range(60):
        path.write_bytes(mutate(data, data[::-1], rng) if turn else data)
        found = list(read_images([{"image_id": name, "uri": str(path), "kind": "archive"}]))
        if not turn:
            assert [image.error for image in found] == [None] * 4
        assert sum(image.archive_level for image in found) <= 1
        for image in found:
            assert (image.data is None) != (image.error is None)
            if image.error is not None:
                assert str(path) in image.error.message
