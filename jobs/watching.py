"""What a driver looks at while actors make shards: the clock, errors, and sentences that come too often."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from vsalign.errors import RunStopped
from vsalign.progress import Progress

COUNTED = 100
"""Inputs from which on --max-error-share and monotony are looked at."""
MONOTONOUS = 0.2
"""Share of a run's pictures that one sentence may describe without a warning."""
REMEMBERED = 10_000
"""Sentences that are counted at most."""


class Monotony:
    """Warns, once, where one sentence is said of a large part of a run's pictures: the model is stuck, or is another's.

    Counted is what most rows of each shard say, so that its share is that or more.
    """

    def __init__(self, unit: str) -> None:
        self._unit, self._rows, self._warned = unit, 0, False
        self._said: Counter[str] = Counter()

    def add(self, done: Mapping[str, Any]) -> None:
        """Count a shard: rows, common, times."""
        self._rows += done["rows"]
        self._said[done["common"]] += done["times"]
        if len(self._said) > REMEMBERED:
            self._said = Counter(dict(self._said.most_common(REMEMBERED // 2)))
        sentence, times = self._said.most_common(1)[0]
        if not self._warned and self._rows >= COUNTED and times > MONOTONOUS * self._rows:
            self._warned = True
            share = f"{100 * times / self._rows:.0f} % or more of {self._rows} {self._unit}"
            print(f"warning: {share} are described as {sentence!r}: look at some of them", file=sys.stderr)


def require_few_errors(most: float, inputs: int, errors: int, unit: str) -> None:
    """Raise RunStopped where too many of this run's inputs are errors: of COUNTED or more, since a few say nothing."""
    if inputs >= COUNTED and errors > most * inputs:
        raise RunStopped(
            f"{errors} of the {inputs} {unit} of this run are errors, more than --max-error-share {most:g}: look at "
            "the reasons (`vsalign status`), mend them or allow more, and the same command goes on from what is "
            "committed"
        )


@contextlib.contextmanager
def ticking(shown: Progress) -> Iterator[None]:
    """Show the progress line when its time has come, also while no shard is done."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(1.0):
            shown.add(0)

    thread = threading.Thread(target=tick, name="progress", daemon=True)
    thread.start()
    try:
        with shown:
            yield
    finally:
        over.set()
        thread.join()
