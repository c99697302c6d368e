"""The gallery's pictures: read, decoded upright, made small, written; a bad one is a reason, not a stop."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from vsalign.errors import InputError
from vsalign.images import ReadImage
from vsalign.pictures.cards import Thumbnail
from vsalign.pictures.originals import Original, OriginalReader, locate, pixels_of

JPEG_QUALITY = 82
"""A guess: no visible fault at this size, a fifth of the bytes of 95."""

IN_FLIGHT = 3
"""Pictures a thread may have waiting: enough to keep it busy, few enough to bound the memory."""

Write = Callable[[str, bytes], object]


def smaller(pixels: np.ndarray, longest: int) -> Image.Image:
    """An (H, W, 3) uint8 sRGB picture, its longer side at most `longest` px, no side under 1 px."""
    image = Image.fromarray(pixels)
    scale = min(1.0, longest / max(image.size))
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image


def shrink(pixels: np.ndarray, longest: int) -> bytes:
    """A JPEG of such a smaller picture."""
    image = smaller(pixels, longest)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return stream.getvalue()


class ThumbnailMaker:
    """Makes thumbnails with a pool of threads; at most IN_FLIGHT pictures a thread are in memory."""

    def __init__(self, *, images: str | None, longest: int, threads: int, write: Write) -> None:
        self._images, self._longest, self._write = images, longest, write
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="thumbnail")
        self._window = IN_FLIGHT * threads
        self._reader = OriginalReader()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def make(self, rows: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, Thumbnail]]:
        """(href, thumbnail) of each (href, row of the descriptions table), in the order of getting ready."""
        wanted: dict[Original, list[str]] = {}
        for href, row in rows:
            try:
                wanted.setdefault(locate(row, self._images), []).append(href)
            except InputError as error:
                yield href, failed(error)
        by_uri = {original.uri: hrefs for original, hrefs in wanted.items()}
        waiting: deque[Future[list[tuple[str, Thumbnail]]]] = deque()
        for read in self._reader.read(wanted):
            waiting.append(self._pool.submit(self._one, by_uri[read.uri], read))
            if len(waiting) >= self._window:
                yield from waiting.popleft().result()
        for future in waiting:
            yield from future.result()

    def _one(self, hrefs: list[str], read: ReadImage) -> list[tuple[str, Thumbnail]]:
        try:
            pixels = pixels_of(read)
        except InputError as error:
            return [(href, failed(error)) for href in hrefs]
        data = shrink(pixels, self._longest)
        height, width = pixels.shape[:2]
        for href in hrefs:
            self._write(href, data)
        return [(href, Thumbnail(href, width, height)) for href in hrefs]


def failed(error: InputError) -> Thumbnail:
    """The placeholder of a picture that cannot be read."""
    return Thumbnail(reason=str(error.reason), message=error.message)
