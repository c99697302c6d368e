"""Decoding in processes of its own: the same pixels, and one picture's fault stays that picture's."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vsalign.errors import ConfigurationError, InputError, Reason, RunStopped
from vsalign.images import DecodeOptions, decode_sized
from vsalign.images.decoders import DecoderOptions, Decoders

HOSTILE = [str(Path(__file__).with_name("hostile_decoder.py"))]
OPTIONS = DecodeOptions(max_pixels=1_000_000, least_side=64)


def picture(width: int, height: int, form: str = "JPEG") -> bytes:
    noise = np.random.default_rng(width).integers(0, 255, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, form)
    return file.getvalue()


@pytest.fixture(scope="module")
def hostile() -> Iterator[Decoders]:
    with Decoders(DecoderOptions(2, 3.0, 1024), OPTIONS, HOSTILE) as pool:
        yield pool


@pytest.mark.timeout(60)
def test_pixels_and_refusals_are_those_of_this_process() -> None:
    inputs = [picture(300, 200), picture(40, 1, "PNG"), picture(90, 90, "WEBP"), b"", b"<html>", picture(50, 50)[:400],
              picture(1200, 900)]  # fmt: skip

    def answered(decode: Callable[..., object], data: bytes) -> object:
        try:
            pixels, size = decode(data, "gs://b/ünï\udcff.jpg")  # type: ignore[misc]
        except InputError as error:
            return error.reason, error.message, error.uri
        return pixels.tobytes(), pixels.shape, pixels.flags.writeable, size

    with Decoders(DecoderOptions(), OPTIONS) as pool, ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda data: answered(pool, data), inputs * 3))

    assert found == [answered(lambda data, uri: decode_sized(data, uri, OPTIONS), data) for data in inputs] * 3


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (b"HANG", Reason.CRASHED, "was ended after 3 s"),
        (b"EXIT", Reason.CRASHED, "died twice (exit status 7)"),
        (b"STOP", Reason.CRASHED, "died twice (exit status 0)"),
        (b"SEGV", Reason.CRASHED, "died twice (SIGSEGV)"),
        (b"MEMORY", Reason.CRASHED, "died twice (exit status 1)"),
        (b"PRINT", Reason.NOT_IMAGE, "not a picture"),
    ],
)
def test_a_picture_that_ends_its_decoder_is_one_error(
    hostile: Decoders, data: bytes, reason: Reason, said: str
) -> None:
    good = picture(30, 20)
    for _ in range(2):
        with pytest.raises(InputError) as refused:
            hostile(data, "a/b.jpg")
        assert refused.value.reason is reason and refused.value.uri == "a/b.jpg"
        assert said in refused.value.message and refused.value.message.startswith("a/b.jpg: ")
        assert hostile(good, "good.jpg")[0].shape == (20, 30, 3)


@pytest.mark.timeout(60)
def test_the_processes_end_with_the_pool_and_with_its_process(tmp_path: Path) -> None:
    with Decoders(DecoderOptions(1), OPTIONS) as pool:
        pool(picture(30, 20), "a.jpg")
        (process,) = pool._all
        pid = process._process.pid  # type: ignore[union-attr]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)

    program = (
        "import sys, time; from vsalign.images.decoders import *; from vsalign.images import DecodeOptions\n"
        f"pool = Decoders(DecoderOptions(1, 2.0), DecodeOptions(), {HOSTILE!r})\n"
        "pool._all[0]._running(); print(pool._all[0]._process.pid, flush=True); pool(b'HANG', 'a.jpg')"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_process_that_does_not_start_stops_the_run() -> None:
    with (
        Decoders(DecoderOptions(1), OPTIONS, ["-c", "raise SystemExit(9)"]) as pool,
        pytest.raises(RunStopped, match="does not start \\(exit status 9\\)"),
    ):
        pool(b"x", "a.jpg")


@pytest.mark.parametrize("wrong", [{"processes": -1}, {"seconds": 0.0}, {"memory_mb": 100}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="decoders: "):
        DecoderOptions(**wrong)  # type: ignore[arg-type]
