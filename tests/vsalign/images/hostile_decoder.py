"""A decoding process whose decoder does what the bytes say."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from typing import Any

from vsalign.images import decode
from vsalign.images.decoder import main

decode_picture = decode.decode_sized


def hostile(data: bytes, uri: str, options: decode.DecodeOptions) -> Any:
    if data == b"HANG":
        time.sleep(600)
    if data == b"EXIT":
        os._exit(7)
    if data == b"STOP":
        sys.exit(0)
    if data == b"SEGV":
        ctypes.string_at(0)
    if data == b"MEMORY":
        return [bytearray(1 << 28) for _ in range(1000)]
    if data == b"PRINT":
        os.write(1, b"f" * 10_000)
    return decode_picture(data, uri, options)


if __name__ == "__main__":
    decode.decode_sized = hostile
    main()
