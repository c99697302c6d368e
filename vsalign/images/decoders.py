"""Decoding in processes of its own: bytes that hang a decoder, end it or take all memory cost that process alone."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from vsalign.errors import ConfigurationError, InputError, Reason, RunStopped
from vsalign.images.decode import DecodeOptions

ASKED = struct.Struct("<QQQQd")
"""Of a request: bytes of the URI and of the picture, max_pixels, least_side, seconds; then these bytes."""
DECODED = struct.Struct("<QQQQ")
"""Of an answer after FOUND: height and width of the pixels, width and height of the picture, px; then the pixels."""
READY, FOUND, REFUSED = b"r", b"f", b"e"
"""An answer's first byte; after REFUSED: a length as LENGTH, and JSON of reason and message."""
LENGTH = struct.Struct("<Q")
LEAST_MB = 512
"""What Python, NumPy and Pillow want before the first picture."""


@dataclass(frozen=True)
class DecoderOptions:
    """Processes that decode pictures for a worker: what hangs or ends one of them costs that picture alone."""

    processes: int = 2
    """Of each worker; 0: it decodes in threads of its own."""
    seconds: float = 120.0
    """A picture that takes longer is an error (CRASHED), and its process is ended."""
    memory_mb: int = 4096
    """MiB of address space of each process; a picture that wants more is an error too."""

    def __post_init__(self) -> None:
        if self.processes < 0 or self.seconds <= 0 or self.memory_mb < LEAST_MB:
            raise ConfigurationError(
                f"decoders: processes {self.processes}, seconds {self.seconds:g}, memory_mb {self.memory_mb}: at least "
                f"0, above 0, and at least {LEAST_MB}"
            )


class Decoders:
    """A pool of decoding processes; `__call__` may be used by as many threads at once as there are."""

    def __init__(
        self,
        pool: DecoderOptions,
        options: DecodeOptions,
        program: Sequence[str] = ("-m", "vsalign.images.decoder"),
    ) -> None:
        """pool: of one process or more; options: of every picture; program: what Python runs, for tests."""
        self.options, self.seconds = options, pool.seconds
        self._lock = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        arguments = [*program, str(self._lock.fileno()), str(pool.memory_mb)]
        self._all = [_Process(self._lock, arguments) for _ in range(pool.processes)]
        for process in self._all:
            self._idle.put(process)

    def __call__(self, data: bytes, uri: str) -> tuple[np.ndarray[Any, Any], tuple[int, int]]:
        """What vsalign.images.decode_sized gives; raises InputError as it does, and CRASHED where the process ended.

        Raises RunStopped where no process can be started.
        """
        process = self._idle.get()
        try:
            for last in (False, True):
                try:
                    return process.ask(data, uri, self.options, self.seconds)
                except _EndedError as ended:  # once more: it may have been killed for another's memory
                    if last or ended.status == -signal.SIGALRM:
                        raise InputError(Reason.CRASHED, f"{uri}: the process that decoded it {ended}", uri) from ended
            raise AssertionError("the last try returns or raises")
        finally:
            self._idle.put(process)

    def close(self) -> None:
        """End the processes."""
        for process in self._all:
            process.end()
        self._lock.close()

    def __enter__(self) -> Decoders:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _EndedError(Exception):
    """A process that ended while it was asked."""

    def __init__(self, status: int, seconds: float) -> None:
        late = status == -signal.SIGALRM
        super().__init__(f"was ended after {seconds:g} s" if late else f"died twice ({_how(status)})")
        self.status = status


class _Process:
    """One of them, started when it is first asked, and again after it died."""

    def __init__(self, lock: IO[bytes], arguments: Sequence[str]) -> None:
        self._lock, self._arguments = lock, arguments
        self._process: subprocess.Popen[bytes] | None = None

    def ask(
        self, data: bytes, uri: str, options: DecodeOptions, seconds: float
    ) -> tuple[np.ndarray[Any, Any], tuple[int, int]]:
        process = self._running()
        name = uri.encode("utf-8", "surrogatepass")
        try:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(ASKED.pack(len(name), len(data), options.max_pixels, options.least_side, seconds))
            process.stdin.write(name)
            process.stdin.write(data)
            process.stdin.flush()
            return _answer(process.stdout, uri)
        except (EOFError, BrokenPipeError) as error:
            status = process.wait()
            self.end()
            raise _EndedError(status, seconds) from error

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._process = subprocess.Popen(
                [sys.executable, *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(self._lock.fileno(),),
            )
            assert self._process.stdout is not None
            if self._process.stdout.read(1) != READY:
                raise RunStopped(
                    f"a process that decodes pictures does not start ({_how(self._process.wait())}): the run was "
                    "ended, and the same command goes on from what is committed"
                )
        return self._process

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    assert pipe is not None
                    pipe.close()
            self._process = None


def _answer(pipe: IO[bytes], uri: str) -> tuple[np.ndarray[Any, Any], tuple[int, int]]:
    if _exactly(pipe, 1) == FOUND:
        rows, columns, width, height = DECODED.unpack(_exactly(pipe, DECODED.size))
        pixels = np.empty((rows, columns, 3), np.uint8)
        _into(pipe, pixels.data.cast("B"))
        return pixels, (width, height)
    (length,) = LENGTH.unpack(_exactly(pipe, LENGTH.size))
    said = json.loads(_exactly(pipe, length))
    raise InputError(Reason(said["reason"]), said["message"], uri)


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    found = bytearray(count)
    _into(pipe, memoryview(found))
    return bytes(found)


def _into(pipe: IO[bytes], view: memoryview) -> None:
    done = 0
    while done < len(view):
        count = pipe.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count


def _how(status: int) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-status).name
    return f"exit status {status}"
