"""How `vsalign serve` bears many users at once, over loopback, in a process of its own.

python -m tests.benchmarks.search_load --index DIR --captions DIR --users 50 --seconds 60 --json FILE

First results: from a sentence sent to a server with nothing else to do until the answer of 24 images is read, as the
page asks for it, each sentence a new one; the middle and the largest of so many. Load: each user asks a new sentence as
soon as the last is answered, and every third time the next part of the same. The users share the server's cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from tests.benchmarks.measured import peak_memory
from tests.benchmarks.record import Measured, write_record
from vsalign.storage import TableReader

IDLE_QUESTIONS = 30
PART = 24
TIMEOUT = 60


@contextmanager
def server(index: str) -> Iterator[tuple[int, int]]:
    """The port and the process of a server."""
    command = [sys.executable, "-m", "vsalign.cli", "serve", index, "--port", "0", "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        said = process.stdout.readline()
        match = re.search(r":(\d+)/", said)
        assert match, f"the server said {said!r} and ended"
        yield int(match[1]), process.pid
    finally:
        process.terminate()
        process.wait(30)


@dataclass
class User:
    """One who asks, over a connection that stays open."""

    port: int
    seconds: list[float] = field(default_factory=list)
    """Of each answer."""
    answers: Counter[str] = field(default_factory=Counter)
    """By status, or what went wrong."""

    def __post_init__(self) -> None:
        self._connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)

    def ask(self, sentence: str, offset: int = 0) -> None:
        """Ask, and read the answer to its end."""
        began = time.perf_counter()
        try:
            self._connection.request(
                "GET", "/api/search?" + urlencode({"q": sentence, "offset": offset, "limit": PART})
            )
            answer = self._connection.getresponse()
            hits = json.loads(answer.read()).get("hits", [])
            self.answers[str(answer.status) if answer.status != 200 or hits else "empty"] += 1
        except (OSError, HTTPException, ValueError) as error:
            self.answers[type(error).__name__] += 1
            self._connection.close()
        self.seconds.append(time.perf_counter() - began)

    def ask_until(self, end: float, sentences: Iterator[str]) -> None:
        """Ask one sentence after the other."""
        for count, sentence in enumerate(sentences):
            if time.monotonic() >= end:
                return
            self.ask(sentence)
            if count % 3 == 0:
                self.ask(sentence, PART)


def new_sentences(known: Sequence[str], seed: int) -> Iterator[str]:
    """Without end and none twice: the beginning of one, the end of another."""
    rng = random.Random(seed)
    for number in itertools.count():
        one, other = (rng.choice(known).split() for _ in range(2))
        yield " ".join([*one[: len(one) // 2], *other[len(other) // 2 :], str(number)])


def measure(index: str, captions: str, users: int, seconds: float) -> dict[str, Measured]:
    """The figures."""
    known = TableReader(captions, "captions").read(["text"])["text"].to_pylist()
    images = TableReader(index, "index").rows
    with server(index) as (port, process):
        alone = User(port)
        for sentence in itertools.islice(new_sentences(known, 0), IDLE_QUESTIONS):
            alone.ask(sentence)
        crowd = [User(port) for _ in range(users)]
        end = time.monotonic() + seconds
        threads = [
            threading.Thread(target=user.ask_until, args=(end, new_sentences(known, 1 + number)))
            for number, user in enumerate(crowd)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        memory = peak_memory(process)
    times = [each for user in crowd for each in user.seconds]
    answers = sum((user.answers for user in crowd), alone.answers)
    print(f"answers: {dict(answers)}", flush=True)
    on = f"{images:,} images, {users} users, {seconds:g} s, {os.cpu_count()} cores"
    alone_on = f"{images:,} images, {IDLE_QUESTIONS} questions one by one, over loopback"
    return {
        "search.first_results_ms": (1000 * statistics.median(alone.seconds), "ms", alone_on),
        "search.first_results_max_ms": (1000 * max(alone.seconds), "ms", alone_on),
        "search.serve_p50_ms": (1000 * float(np.percentile(times, 50)), "ms", on),
        "search.serve_p99_ms": (1000 * float(np.percentile(times, 99)), "ms", on),
        "search.serve_answers_per_s": (len(times) / seconds, "answers/s", on),
        "search.serve_errors": (sum(answers.values()) - answers["200"], "answers", on),
        "search.serve_peak_gb": (memory / 1e9, "GB", on),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", required=True, help="folder of the index (tests.benchmarks.synthetic_index)")
    parser.add_argument("--captions", required=True, help="captions table: where the sentences come from")
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    write_record(asked.json, measure(asked.index, asked.captions, asked.users, asked.seconds))


if __name__ == "__main__":
    main()
