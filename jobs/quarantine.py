"""Which input ends its actor: a shard that did so twice is tried input by input, and made without those that did.

An actor that dies says nothing. So each input is announced to `Tries`, an actor of its own, before it is tried; where
the next try of the shard begins while one is announced, that one was the last.
"""

from __future__ import annotations

import faulthandler
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from vsalign.storage import ShardResult, ShardTask

TRIES = 4
"""Times that a shard is begun where no input of its own is found at fault. Ray starts actors that died again and again,
as preempted machines need it; a shard that kills its actor each time must not go on for ever."""

CAREFUL = 3
"""From this try on, inputs are tried one by one."""

Lost = dict[str, str]
"""URIs of inputs that end or fail their actor, with what is said of them."""


class Made(NamedTuple):
    """A shard that was made."""

    result: ShardResult
    common: str = ""
    """What most of its rows say, where they say something."""
    times: int = 0
    """How many do."""


class Maker(Protocol):
    """What makes a shard."""

    def __call__(self, task: ShardTask, lost: Lost) -> Made:
        """Commit the shard; an input that is `lost` becomes an error (CRASHED)."""

    def one_by_one(self, task: ShardTask) -> Iterator[tuple[str, Callable[[], None]]]:
        """The URI of each input, and a trial of it that changes nothing; none where nothing can go wrong with one."""
        return iter(())


@dataclass
class Shard:
    """What is known of one shard's tries."""

    begun: int = 0
    lost: Lost = field(default_factory=dict)
    passed: int = 0
    """Inputs that were tried already."""
    trying: str = ""
    """The URI that is tried now."""
    excused: bool = False
    """Whether an input was found at fault, with which this try ends."""
    failure: str = ""
    """What the last try said before it ended."""


class Tries:
    """An actor that knows how often each shard was begun, and which of its inputs were found at fault."""

    def __init__(self) -> None:
        self._shards: dict[int, Shard] = defaultdict(Shard)

    def begin(self, shard: int) -> Shard:
        """A try begins. One that ended while an input was tried is that input's fault and is not counted."""
        own = self._shards[shard]
        if own.trying:
            self.lose(shard, f"{own.trying}: the worker died, or stood still, while this was described")
        own.begun += not own.excused
        own.excused = False
        return own

    def lost(self, shard: int) -> Lost:
        """The inputs found at fault."""
        return self._shards[shard].lost

    def failed(self, shard: int, message: str) -> None:
        """The try ends by an exception."""
        self._shards[shard].failure = message

    def trying(self, shard: int, uri: str) -> None:
        """An input is tried."""
        self._shards[shard].trying = uri

    def good(self, shard: int) -> None:
        """It did no harm."""
        self._shards[shard].trying = ""
        self._shards[shard].passed += 1

    def lose(self, shard: int, message: str) -> None:
        """It is at fault."""
        own = self._shards[shard]
        own.lost[own.trying] = message
        own.excused = True
        self.good(shard)


class Pulse:
    """Ends this process where nothing beats for some seconds: also where it hangs in native code."""

    def __init__(self) -> None:
        self._seconds, self._last = 0.0, 0.0

    def start(self, seconds: float) -> None:
        """From now on; 0: never."""
        self._seconds, self._last = seconds, 0.0
        self.beat()

    def beat(self) -> None:
        """There is progress."""
        if self._seconds and time.monotonic() - self._last > min(1.0, self._seconds / 10):
            self._last = time.monotonic()
            faulthandler.dump_traceback_later(self._seconds, exit=True)

    def stop(self) -> None:
        """Nothing is to be done now."""
        self._seconds = 0.0
        faulthandler.cancel_dump_traceback_later()


PULSE = Pulse()
"""This process's."""
