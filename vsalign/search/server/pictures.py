"""Pictures as the page shows them: decoded upright within limits, made small, encoded anew; never the raw file."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vsalign.images import DecodeOptions, ReadImage, decode_image
from vsalign.pictures.thumbnails import shrink
from vsalign.search.server.archive import Originals, original_of
from vsalign.search.server.line import Busy
from vsalign.search.server.remembered import Remembered

THUMBNAIL, PICTURE = 400, 1600
"""px of the longer side."""
REMEMBERED_BYTES = 64 * 2**20
"""Of encoded pictures: some 2,000 thumbnails."""
MOST_WAITING = 512
"""Pictures under way; browsers ask for six at a time."""


class Pictures:
    """Makes the pictures of an index's rows; `images`: as original_of."""

    def __init__(self, images: str | None) -> None:
        self._images = images
        self._originals = Originals()
        self._decoders = ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1)), "decode")
        self._made: Remembered[bytes] = Remembered(REMEMBERED_BYTES, len)
        self._under_way = 0

    async def jpeg(self, row: dict[str, Any], longest: int) -> bytes:
        """A JPEG, its longer side at most `longest` px; raises InputError for a bad original, or Busy."""
        key = (str(row["uri"]), str(row["image_id"]), longest)
        if (made := self._made.get(key)) is not None:
            return made
        if self._under_way >= MOST_WAITING:
            raise Busy
        self._under_way += 1
        try:
            read = await self.read(row)
            data = await asyncio.get_running_loop().run_in_executor(self._decoders, _shrunk, read, longest)
        finally:
            self._under_way -= 1
        self._made.put(key, data)
        return data

    async def read(self, row: dict[str, Any]) -> ReadImage:
        """The original's bytes or error; raises InputError where it lies outside the archive."""
        original = await asyncio.to_thread(original_of, row, self._images)
        return await asyncio.wrap_future(self._originals.read(original))

    def close(self) -> None:
        """End the threads."""
        self._decoders.shutdown(cancel_futures=True)
        self._originals.close()


def _shrunk(read: ReadImage, longest: int) -> bytes:
    pixels = decode_image(read.content(), read.uri, DecodeOptions(least_side=longest))
    return shrink(pixels, longest)
