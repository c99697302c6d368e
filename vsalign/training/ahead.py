"""The next batches are made while the model learns from this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

BATCHES = 2
"""Made ahead: one that is ready, one in the making."""


def ahead(batches: Iterator[Any], prepare: Callable[[Any], Any] | None = None) -> Iterator[Any]:
    """The same batches, each made and `prepare`d in a thread of its own; what is raised there is raised here."""

    def following() -> Any:
        batch = next(batches, None)
        return batch if batch is None or prepare is None else prepare(batch)

    with ThreadPoolExecutor(1, "batches") as thread:
        waiting = deque(thread.submit(following) for _ in range(BATCHES))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(following))
            yield batch
