"""What extraction holds in memory does not grow with its input (tests/benchmarks/memory.py)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import memory
from tests.benchmarks.measured import peak_memory
from tests.conftest import LONG


@pytest.mark.timeout(3600 if LONG else 300)
def test_more_pictures_and_a_long_list_take_no_more_memory(stages: Any, tmp_path: Path) -> None:
    few, many, uris = (1000, 7000, 1_000_000) if LONG else (320, 640, 30_000)
    images = tmp_path / "images"
    images.mkdir()
    for number in range(many):
        (images / f"{number:04d}.jpg").write_bytes(stages.picture(number))
    small = ("--extractor.name", "lite", "--extractor.input-size", "64", "--threads", "1")
    found = memory.compare(images, tmp_path, few, uris, small)
    assert found["few"]["peak_mb"] > 200  # torch alone takes more: it was measured
    assert found["memory_growth"] < 1.1, found


def test_the_peak_of_a_process_is_seen_after_it_has_shrunk() -> None:
    block = bytearray(b"x" * (64 << 20))
    size = len(block)
    before = peak_memory(os.getpid())
    del block
    assert peak_memory(os.getpid()) >= before > size
    assert peak_memory(0) == 0
