"""The line of questions: one thread takes all that wait and searches for them in one pass over the index.

What was found is remembered, so that the next part of a result needs no search. Where in the pictures it is, is looked
at by other threads meanwhile.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import torch

from vsalign.search.hits import Found, Hit, hits
from vsalign.search.index import Question, SearchIndex
from vsalign.search.queries import Query
from vsalign.search.server.remembered import Remembered
from vsalign.search.wanted import Wanted

PLACERS = 2
"""Threads that look for places. Each has one of torch's threads: they work on a few numbers at a time."""
TOGETHER = 16
"""Questions of one pass over the index."""
MOST_WAITING = 128
"""Questions that may wait, eight passes; who comes later is told to ask again."""
MOST_SHOWN = 1000
"""Images of one question that can be scrolled through."""
DEPTHS = (64, 256, MOST_SHOWN + 1)
"""How many images are found at once: the first that is above what is asked for."""
REMEMBERED = 20_000
"""Images found that are remembered, of all questions together; some 3 kB each."""


class Busy(Exception):
    """Too many wait."""


@dataclass(frozen=True)
class Search:
    """A part of what a sentence, or a place in a picture, finds."""

    sentence: str = ""
    place: Query | None = None
    """Instead of a sentence."""
    place_key: Hashable = None
    """What tells this place from others."""
    wanted: Wanted = field(default_factory=Wanted)
    offset: int = 0
    limit: int = 24

    @property
    def key(self) -> Hashable:
        """Equal for all parts of one result."""
        return self.sentence, self.place_key, self.wanted

    @property
    def depth(self) -> int:
        """Images to be found, one more than are shown at least."""
        return next(depth for depth in DEPTHS if depth > self.offset + self.limit)


@dataclass(frozen=True)
class Result:
    """A part of what was found."""

    query: Query
    hits: list[Hit]
    more: bool
    """Whether more follow."""


@dataclass(frozen=True)
class _Kept:
    query: Query
    found: list[Found]
    depth: int


_Waiting = tuple[Search, "Future[Result]"]


class Line:
    """Questions of any threads for the index that `current` gives."""

    def __init__(self, current: Callable[[], SearchIndex]) -> None:
        self._current = current
        self._index: SearchIndex | None = None
        self._kept: Remembered[_Kept] = Remembered(REMEMBERED, lambda kept: 1 + len(kept.found))
        self._placers = ThreadPoolExecutor(PLACERS, "places", torch.set_num_threads, (1,))
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="searching", daemon=True)
        self._thread.start()

    def ask(self, search: Search) -> Future[Result]:
        """Wait in line; raises Busy where it is too long. The future raises ConfigurationError for a bad sentence."""
        future: Future[Result] = Future()
        try:
            self._queue.put_nowait((search, future))
        except queue.Full:
            raise Busy from None
        return future

    def close(self) -> None:
        """End the threads when all that wait are answered."""
        self._queue.put(None)
        self._thread.join()
        self._placers.shutdown()

    def _work(self) -> None:
        open_ = True
        while open_:
            asked = [self._queue.get()]
            while len(asked) < TOGETHER and not self._queue.empty():
                asked.append(self._queue.get())
            open_ = None not in asked
            self._answer([each for each in asked if each is not None and each[1].set_running_or_notify_cancel()])

    def _answer(self, asked: Sequence[_Waiting]) -> None:
        index = self._current()
        if index is not self._index:
            self._kept.clear()
            self._index = index
        try:
            self._find(index, asked)
        except Exception as error:  # the thread outlives whatever one pass meets
            for _, future in asked:
                if not future.done():
                    future.set_exception(error)
            return
        for search, future in asked:
            if not future.done():
                kept = self._kept.get(search.key)
                self._placers.submit(_settle, future, partial(_part, index, search, kept))

    def _find(self, index: SearchIndex, asked: Sequence[_Waiting]) -> None:
        """Search for what is not remembered; a sentence that cannot be asked is the fault of its own question."""
        new: dict[Hashable, tuple[Query, Search]] = {}
        for search, future in asked:
            kept = self._kept.get(search.key)
            if kept is not None and kept.depth >= search.depth:
                continue
            try:
                query = kept.query if kept else search.place or index.asker.sentence(search.sentence)
            except Exception as error:
                future.set_exception(error)
                continue
            new[search.key] = (query, search)
        if not new:
            return
        depth = max(search.depth for search, future in asked if not future.done())
        questions = [Question(query, search.wanted) for query, search in new.values()]
        for (key, (query, _)), found in zip(new.items(), index.find(questions, depth), strict=True):
            self._kept.put(key, _Kept(query, found, depth))


def _part(index: SearchIndex, search: Search, kept: _Kept | None) -> Result:
    if kept is None:  # larger than all that may be remembered
        raise Busy
    end = search.offset + search.limit
    part = hits(kept.query, kept.found[search.offset : end], index.placing)
    return Result(kept.query, part, end < min(MOST_SHOWN, len(kept.found)))


def _settle(future: Future[Result], make: Callable[[], Result]) -> None:
    try:
        future.set_result(make())
    except Exception as error:
        future.set_exception(error)
