"""The originals of an index's pictures: only what lies in the archive is read, and an archive's members together."""

from __future__ import annotations

import os
import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from vsalign.errors import InputError, Reason
from vsalign.images import ReadImage
from vsalign.images.locations import LOCAL, canonical, lies_within, protocol_of
from vsalign.images.names import unescape
from vsalign.pictures.originals import Original, OriginalReader, locate

THREADS = 4
TOGETHER = 32
"""Members that are read in one pass through their archives."""


def original_of(row: dict[str, Any], images: str | None) -> Original:
    """Where the picture of a row of the index is; images: where the archive is now, None where it never moved.

    Raises InputError: UNSAFE_PATH for a local file that lies, links followed, outside the archive's root, NOT_FOUND for
    a name that no file can have.
    """
    original = locate(row, images)
    file, image_id = original.uri, str(row["image_id"])
    if original.archive:
        member = original.uri[len(original.archive) + len("!/") :]
        file, image_id = original.archive, image_id.removesuffix(f"/{member}")
    path = unescape(file)
    if protocol_of(path) != LOCAL:
        return original
    if "\0" in path:
        raise InputError(Reason.NOT_FOUND, f"{original.uri}: no file has such a name", original.uri)
    path = canonical(path)
    if images is not None:
        root = canonical(os.path.expanduser(images))
    else:
        root = unescape(file.removesuffix(image_id)) if file.endswith(image_id) else "/"
    # Whose root is unknown, or all of the disk (a list of paths), is at least no link.
    leads_out = not lies_within(path, root) if root.strip("/") else os.path.islink(path)
    if leads_out:
        raise InputError(Reason.UNSAFE_PATH, f"{original.uri} lies outside the archive", original.uri)
    return original


class Originals:
    """Reads originals: files by some threads; members of archives by one, all that wait in one pass."""

    def __init__(self) -> None:
        self._files = ThreadPoolExecutor(THREADS, "original")
        self._members: queue.Queue[tuple[Original, Future[ReadImage]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read_members, name="members", daemon=True)
        self._thread.start()

    def read(self, original: Original) -> Future[ReadImage]:
        """Its bytes or its error."""
        if not original.archive:
            return self._files.submit(lambda: next(OriginalReader().read([original])))
        future: Future[ReadImage] = Future()
        self._members.put((original, future))
        return future

    def close(self) -> None:
        """End the threads."""
        self._files.shutdown(cancel_futures=True)
        self._members.put(None)
        self._thread.join()

    def _read_members(self) -> None:
        reader = OriginalReader()
        while (first := self._members.get()) is not None:
            waiting: dict[Original, list[Future[ReadImage]]] = {first[0]: [first[1]]}
            while len(waiting) < TOGETHER and not self._members.empty():
                if (another := self._members.get()) is None:
                    self._members.put(None)
                    break
                waiting.setdefault(another[0], []).append(another[1])
            by_uri = {original.uri: futures for original, futures in waiting.items()}
            try:
                for read in reader.read(waiting):
                    for future in by_uri.pop(read.uri):
                        _settle(future, read)
            except Exception as error:  # the thread outlives whatever one archive does
                reader = OriginalReader()
                for futures in by_uri.values():
                    for future in futures:
                        _settle(future, error)


def _settle(future: Future[ReadImage], value: ReadImage | Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(value) if isinstance(value, Exception) else future.set_result(value)
