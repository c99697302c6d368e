"""What people wrote about each picture, and the region of each phrase, by image id."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from vsalign.errors import TableError

Piece = tuple[str, int | None]
"""A part of a sentence and its region (a row of the boxes), or None; the pieces joined are the sentence."""


@dataclass(frozen=True)
class HumanSentences:
    """The sentences of one picture, in pieces, and the boxes (n, 4) xyxy px that the pieces name."""

    sentences: list[list[Piece]] = field(default_factory=list)
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    width: int = 0
    """Width and height, in px, of the upright picture that the boxes were made on."""
    height: int = 0


class SentenceStore:
    """Captions, segments and boxes by image id, in a private temporary database.

    The three tables have orders of their own; SQLite spills to disk what its cache of a few MB does not hold.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("")
        self._database.executescript(
            """
            CREATE TABLE captions (image_id TEXT, caption_id TEXT, text TEXT, tokens TEXT);
            CREATE INDEX captions_by_image ON captions (image_id);
            CREATE TABLE segments (image_id TEXT, caption_id TEXT, segments TEXT,
                                   PRIMARY KEY (image_id, caption_id));
            CREATE TABLE boxes (image_id TEXT PRIMARY KEY, width INTEGER, height INTEGER, boxes BLOB);
            """
        )

    def close(self) -> None:
        self._database.close()

    def add_captions(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Take batches with image_id, caption_id, text, tokens (the captions table)."""
        rows = ((r["image_id"], r["caption_id"], r["text"], json.dumps(r["tokens"])) for r in rows_of(batches))
        self._database.executemany("INSERT INTO captions VALUES (?, ?, ?, ?)", rows)

    def add_segments(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Take batches of the segments table."""
        rows = ((r["image_id"], r["caption_id"], json.dumps(r["segments"])) for r in rows_of(batches))
        self._database.executemany("INSERT OR REPLACE INTO segments VALUES (?, ?, ?)", rows)

    def add_boxes(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Take batches with image_id, width, height, boxes: the regions that the segments were made from."""
        rows = (
            (r["image_id"], r["width"], r["height"], np.asarray(r["boxes"], np.float32).tobytes())
            for r in rows_of(batches)
        )
        self._database.executemany("INSERT OR REPLACE INTO boxes VALUES (?, ?, ?, ?)", rows)

    def of(self, image_id: str) -> HumanSentences:
        """The sentences of a picture, in the captions table's order; none where it has no caption.

        Raises TableError where a segment names a region that the regions table does not have.
        """
        found = self._database.execute(
            "SELECT caption_id, text, tokens, segments.segments FROM captions LEFT JOIN segments"
            " USING (image_id, caption_id) WHERE image_id = ? ORDER BY captions.rowid",
            (image_id,),
        ).fetchall()
        held = self._database.execute("SELECT * FROM boxes WHERE image_id = ?", (image_id,)).fetchone()
        boxes = np.frombuffer(held[3] if held else b"", np.float32).reshape(-1, 4)
        sentences = []
        for caption_id, text, tokens, segments in found:
            pieces = cut_sentence(text, json.loads(tokens), json.loads(segments or "[]"))
            unknown = [region for _, region in pieces if region is not None and not 0 <= region < len(boxes)]
            if unknown:
                raise TableError(
                    f"the segments of caption {caption_id!r} name region {unknown[0]} of {image_id!r}, which "
                    f"has {len(boxes)} in the regions table: give the --regions that align_segments read"
                )
            sentences.append(pieces)
        return HumanSentences(sentences, boxes, held[1] if held else 0, held[2] if held else 0)


def rows_of(batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    """The rows one by one: as Python's objects a whole batch would be many times its size."""
    for batch in batches:
        for start in range(0, batch.num_rows, 256):
            yield from batch.slice(start, 256).to_pylist()


def cut_sentence(text: str, tokens: Sequence[str], segments: Sequence[dict[str, Any]]) -> list[Piece]:
    """A sentence cut at its segments: start and end are words (end exclusive) of `tokens`, region is a row.

    Where the words are not found in the text in order, the words, joined by blanks, are the sentence.
    """
    spans = _word_spans(text, tokens)
    if spans is None:
        text = " ".join(tokens)
        ends = np.cumsum([len(token) + 1 for token in tokens]).tolist()
        spans = [(end - 1 - len(token), end - 1) for token, end in zip(tokens, ends, strict=True)]
    pieces: list[Piece] = []
    written = 0
    for segment in sorted(segments, key=lambda segment: int(segment["start"])):
        words = spans[max(0, segment["start"]) : max(0, segment["end"])]
        if not words or segment["region"] is None or words[0][0] < written:
            continue
        if words[0][0] > written:
            pieces.append((text[written : words[0][0]], None))
        pieces.append((text[words[0][0] : words[-1][1]], int(segment["region"])))
        written = words[-1][1]
    if written < len(text):
        pieces.append((text[written:], None))
    return pieces


def _word_spans(text: str, tokens: Sequence[str]) -> list[tuple[int, int]] | None:
    """Where each token stands in the text (character start, end), in order and whatever the case."""
    lowered: list[str] = []
    origin: list[int] = []
    for position, character in enumerate(text):
        for small in character.lower():  # one character may become two ("İ"): keep where each came from
            lowered.append(small)
            origin.append(position)
    joined = "".join(lowered)
    spans: list[tuple[int, int]] = []
    at = 0
    for token in tokens:
        found = joined.find(token, at)
        if found < 0 or not token:
            return None
        at = found + len(token)
        spans.append((origin[found], origin[at - 1] + 1))
    return spans
