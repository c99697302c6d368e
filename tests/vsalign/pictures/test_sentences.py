"""Sentences cut at their segments, and joined with their pictures."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from vsalign import tables
from vsalign.errors import TableError
from vsalign.pictures.sentences import SentenceStore, cut_sentence
from vsalign.text import tokenize


def segment(start: int, end: int, region: int) -> dict[str, float]:
    return {"start": start, "end": end, "region": region, "score": 1.0}


def test_phrases_keep_the_capitals_and_marks_of_the_sentence() -> None:
    text = 'A "black" dog, running on Grass.'
    pieces = cut_sentence(text, tokenize(text), [segment(0, 3, 4), segment(3, 4, 0), segment(5, 6, 2)])
    assert pieces == [('A "black" dog', 4), (", ", None), ("running", 0), (" on ", None), ("Grass", 2), (".", None)]


@pytest.mark.parametrize(
    "text",
    ["İstanbul'da bir köpek", "STRASSE straße", "كلب يجري على الشاطئ", "a\nb\tc", "<b>dog</b> & 'cat'", "", "..."],
)
def test_pieces_joined_are_the_sentence(text: str) -> None:
    tokens = tokenize(text)
    pieces = cut_sentence(text, tokens, [segment(n, n + 1, n) for n in range(len(tokens))])
    assert "".join(piece for piece, _ in pieces) == text
    assert [region for _, region in pieces if region is not None] == list(range(len(tokens)))


def test_words_that_are_not_in_the_text_are_shown_themselves() -> None:
    assert cut_sentence("Ein Hund", ["a", "dog"], [segment(0, 1, 3), segment(1, 2, 0)]) == [
        ("a", 3),
        (" ", None),
        ("dog", 0),
    ]


def test_segments_beyond_the_sentence_and_overlapping_ones_do_not_repeat_words() -> None:
    pieces = cut_sentence("a b c", ["a", "b", "c"], [segment(0, 2, 1), segment(1, 3, 2), segment(7, 9, 3)])
    assert pieces == [("a b", 1), (" c", None)]


def batches(rows: list[dict[str, object]], schema: pa.Schema) -> list[pa.RecordBatch]:
    return pa.Table.from_pylist(rows, schema=schema).to_batches()


def store_of(regions: int) -> SentenceStore:
    store = SentenceStore()
    rows = [
        {
            "image_id": f"{n}.jpg",
            "caption_id": f"{n}#{k}",
            "split": "dev",
            "text": f"Dog {k}",
            "tokens": ["dog", str(k)],
        }
        for k in range(2)
        for n in (2, 1)
    ]
    store.add_captions(batches(rows, tables.CAPTIONS))
    segments = [{"image_id": "1.jpg", "caption_id": "1#0", "segments": [segment(0, 1, 2)]}]
    store.add_segments(batches(segments, tables.SEGMENTS))
    boxes = [[0, 0, 9, 9]] * regions
    held = [{"image_id": "1.jpg", "width": 10, "height": 9, "boxes": boxes, "scores": [1] * regions, "features": []}]
    store.add_boxes(batches(held, tables.regions_schema(4)))
    return store


def test_tables_of_different_orders_are_joined_by_image_and_caption() -> None:
    store = store_of(regions=3)
    first, second = store.of("1.jpg"), store.of("2.jpg")
    assert first.sentences == [[("Dog", 2), (" 0", None)], [("Dog 1", None)]]
    assert (first.width, first.height) == (10, 9)
    np.testing.assert_array_equal(first.boxes, np.float32([[0, 0, 9, 9]] * 3))
    assert second.sentences == [[("Dog 0", None)], [("Dog 1", None)]]
    assert store.of("1.jpg'; DROP TABLE captions; --").sentences == []


def test_segments_of_another_regions_table_are_refused() -> None:
    with pytest.raises(TableError, match="name region 2 of '1.jpg', which has 1 in the regions table"):
        store_of(regions=1).of("1.jpg")
