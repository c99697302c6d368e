"""An index that is opened again when it has changed on disk; until the new one is there, the old one answers."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable

from vsalign.errors import VsalignError
from vsalign.search.index import SearchIndex
from vsalign.search.lists import FACTS as LISTS
from vsalign.search.removed import REMOVED
from vsalign.storage import Folder
from vsalign.storage.layout import MANIFEST

SECONDS_BETWEEN_LOOKS = 3.0
LOG = logging.getLogger(__name__)


class OpenIndex:
    """The index at `url`, as `load` opens it; who reads `current` makes it looked at, every few seconds at most.

    Both the old and the new one are in memory for a moment.
    """

    def __init__(self, url: str, load: Callable[[], SearchIndex], seconds: float = SECONDS_BETWEEN_LOOKS) -> None:
        self._folder, self._load, self._seconds = Folder(url), load, seconds
        self._seen = self._state()
        self._index = load()
        self._asked, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="index", daemon=True)
        self._thread.start()

    def current(self) -> SearchIndex:
        """The index as it is now."""
        self._asked.set()
        return self._index

    def close(self) -> None:
        """Look no more."""
        self._closed.set()
        self._asked.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(self._seconds):
            self._asked.wait()
            self._asked.clear()
            if not self._closed.is_set():
                self._look()

    def _look(self) -> None:
        """Open the index again where it changed; one that cannot be opened (yet) leaves the old one."""
        try:
            state = self._state()
            if state != self._seen:
                self._index = self._load()
                self._seen = state
        except (VsalignError, OSError) as error:
            LOG.warning("the index changed and cannot be opened, the old one answers: %s", error)

    def _state(self) -> tuple[str, ...]:
        """What changes with the index: its manifest and lists, and the names of the files of what was removed."""
        names = self._folder.names()
        facts = (hashlib.sha256(self._folder.read(name)).hexdigest() for name in (MANIFEST, LISTS) if name in names)
        return *facts, *sorted(name for name in names if REMOVED.fullmatch(name))
