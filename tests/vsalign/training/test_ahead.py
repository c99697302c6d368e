"""Batches made ahead are the same ones, and what goes wrong there is known here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from vsalign.training.ahead import BATCHES, ahead


def test_every_batch_comes_once_in_order_prepared_and_from_another_thread() -> None:
    threads: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(20):
            threads.append(threading.get_ident())
            yield number

    assert list(ahead(numbers(), lambda number: 2 * number)) == list(range(0, 40, 2))
    assert len(set(threads)) == 1 and threading.get_ident() not in threads
    assert list(ahead(iter([]))) == []


def test_no_more_than_two_are_made_before_they_are_asked_for() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    batches = ahead(numbers())
    next(batches)
    time.sleep(0.2)
    assert len(made) == 1 + BATCHES
    batches.close()  # type: ignore[attr-defined]
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())


def test_a_failure_is_raised_where_the_batch_was_due() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    batches = ahead(numbers())
    assert next(batches) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
