"""A decoding process (vsalign.images.decoders): pictures' bytes on stdin, their pixels on stdout, until stdin ends.

python -m vsalign.images.decoder LOCK MEMORY: the number of the file descriptor that processes lock for a large picture,
and the MiB of address space that this one may take.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import IO

from vsalign.errors import InputError
from vsalign.images import decode
from vsalign.images.decoders import ASKED, DECODED, FOUND, LENGTH, READY, REFUSED


class LockedFile:
    """One large picture at a time among the processes that share a file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def serve(asked: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until there is no further request."""
    answers.write(READY)
    answers.flush()
    while head := asked.read(ASKED.size):
        name, size, max_pixels, least_side, seconds = ASKED.unpack(head)
        uri, data = asked.read(name).decode("utf-8", "surrogatepass"), asked.read(size)
        # Unhandled, this signal ends the process, in native code too, and when its parent is gone.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        parts = list(answer(data, uri, decode.DecodeOptions(max_pixels, least_side)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        for part in parts:
            answers.write(part)
        answers.flush()


def answer(data: bytes, uri: str, options: decode.DecodeOptions) -> Iterator[bytes | memoryview]:
    """What is said of one picture."""
    try:
        pixels, (width, height) = decode.decode_sized(data, uri, options)
    except InputError as error:
        said = json.dumps({"reason": str(error.reason), "message": error.message}).encode()
        yield REFUSED + LENGTH.pack(len(said)) + said
        return
    yield FOUND + DECODED.pack(*pixels.shape[:2], width, height)
    yield pixels.data.cast("B")


def main() -> None:
    """The process."""
    lock, memory_mb = int(sys.argv[1]), int(sys.argv[2])
    decode.ONE_LARGE = LockedFile(lock)
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this one
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a decoder prints is no answer
    serve(os.fdopen(os.dup(0), "rb"), answers)


if __name__ == "__main__":
    main()
