"""What a descriptions table is like as a whole: the figures at the head of the gallery."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa


@dataclass(frozen=True)
class Facts:
    """Figures of a whole descriptions table."""

    pictures: int
    distinct: int
    """Captions that differ from one another."""
    most_frequent: str
    """The caption that most pictures share ("" in an empty table)."""
    most_frequent_count: int
    unfinished: int
    """Captions that reached the length limit before their end."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Inputs that could not be used, by reason."""
    frequent: tuple[tuple[str, int], ...] = ()
    """The most frequent captions and how many pictures have each, most first."""

    @property
    def most_frequent_share(self) -> float:
        """The share of pictures (0 to 1) with the most frequent caption: near 1, the describer is stuck."""
        return self.most_frequent_count / self.pictures if self.pictures else 0.0


def count_captions(batches: Iterable[pa.RecordBatch], errors: Mapping[str, int], examples: int = 1) -> Facts:
    """Facts from batches with the columns caption and finished; counted on disk beyond a few MB.

    examples: most frequent captions that are given.
    """
    database = sqlite3.connect("")
    try:
        database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, caption TEXT, n INTEGER) WITHOUT ROWID")
        pictures = unfinished = 0
        for batch in batches:
            captions = batch.column("caption").to_pylist()
            pictures += len(captions)
            unfinished += batch.column("finished").to_pylist().count(False)
            database.executemany(
                "INSERT INTO seen VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1",
                ((hashlib.blake2b(text.encode(), digest_size=16).digest(), text) for text in captions),
            )
        (distinct,) = database.execute("SELECT count(*) FROM seen").fetchone()
        # The smaller text wins a tie, so that the same table gives the same page.
        order = "SELECT caption, n FROM seen ORDER BY n DESC, caption LIMIT ?"
        most = database.execute(order, (max(1, examples),)).fetchall()
    finally:
        database.close()
    text, count = most[0] if most else ("", 0)
    return Facts(pictures, distinct, text, count, unfinished, dict(errors), tuple(most[:examples]))
