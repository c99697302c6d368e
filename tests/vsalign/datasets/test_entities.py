"""Flickr30k Entities: made-up annotations for the rules, the published ones for the numbers."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vsalign.datasets.captions import read_captions
from vsalign.datasets.entities import entity_id, parse_sentence, read_entities, union_box
from vsalign.datasets.records import CaptionRecord, PhraseTruth
from vsalign.errors import InputError, MissingInputError, Reason
from vsalign.text import tokenize

MARKED = (
    "[/EN#2/animals/other Two dogs] near [/EN#0/notvisual it] and [/EN#3/people the tall-ish man] "
    "in [/EN#4/scene snow] .",
    "[/EN#3/people A man] [/EN#9/other waits] .",
)
CAPTIONS = {
    "1_a.jpg": [
        ("1_a.jpg#0", "A man waits ."),
        ("1_a.jpg#1", "two dogs near it and the tall-ish man in snow"),
        ("1_a.jpg#2", "No sentence has these words ."),
    ]
}


def box(x1: int, y1: int, x2: int, y2: int) -> str:
    return f"<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"


OBJECTS = (
    f"<object><name>2</name><name>3</name>{box(1, 1, 100, 50)}</object>"
    f"<object><name>2</name>{box(11, 21, 30, 40)}</object>"
    "<object><name>4</name><scene>1</scene><nobndbox>1</nobndbox></object>"
)


def published(folder: Path, objects: str = OBJECTS, size: tuple[int, int] = (100, 50), identity: str = "1") -> str:
    for kind in ("Annotations", "Sentences"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    head = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    (folder / f"Annotations/{identity}.xml").write_text(f"<annotation>{head}{objects}</annotation>")
    (folder / f"Sentences/{identity}.txt").write_text("\n".join(MARKED) + "\n")
    return str(folder)


def test_marks_become_word_positions_of_the_plain_sentence() -> None:
    sentence, phrases, unaligned = parse_sentence(MARKED[0])
    assert sentence == "Two dogs near it and the tall-ish man in snow ."
    assert [(phrase.chain, phrase.kind, phrase.start, phrase.end) for phrase in phrases] == [
        ("2", "animals/other", 0, 2),
        ("0", "notvisual", 3, 4),
        ("3", "people", 5, 9),
        ("4", "scene", 10, 11),
    ]
    assert unaligned == 0


def test_phrase_that_ends_inside_a_word_is_counted_not_guessed() -> None:
    _, phrases, unaligned = parse_sentence("[/EN#1/people Snow]boards and [/EN#2/other a hill]")
    assert [(phrase.text, phrase.start, phrase.end) for phrase in phrases] == [("a hill", 2, 4)]
    assert unaligned == 1


def test_phrases_are_matched_by_words_and_get_continuous_boxes(tmp_path: Path) -> None:
    reading = read_entities(published(tmp_path), CAPTIONS, {"1_a.jpg": (100, 50)})
    phrases, errors = reading.split()
    assert errors == []
    assert [(phrase.caption_id, phrase.text, phrase.start, phrase.end) for phrase in phrases] == [
        ("1_a.jpg#1", "Two dogs", 0, 2),
        ("1_a.jpg#1", "the tall-ish man", 5, 9),
        ("1_a.jpg#0", "A man", 0, 2),
    ]
    assert phrases[0].boxes.dtype == np.float32
    assert phrases[0].boxes.tolist() == [[0, 0, 100, 50], [10, 20, 30, 40]]
    assert (phrases[0].width, phrases[0].height) == (100, 50)
    counts = reading.counts
    assert (counts["phrases"], counts["phrases_not_visual"], counts["phrases_without_box"]) == (6, 1, 2)
    assert (counts["sentences"], counts["sentences_unmatched"]) == (2, 0)
    again = PhraseTruth.from_json(phrases[0].to_json())
    assert again.to_json() == phrases[0].to_json()
    assert again.boxes.tolist() == phrases[0].boxes.tolist()


def test_sentence_without_an_equal_caption_is_counted(tmp_path: Path) -> None:
    reading = read_entities(published(tmp_path), {"1.jpg": [("c", "A man waits")]}, {"1.jpg": (100, 50)})
    phrases, _ = reading.split()
    assert {phrase.caption_id for phrase in phrases} == {"c"}
    assert reading.counts["sentences_unmatched"] == 1


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("size", [(50, 100), (25, 50)])
def test_transposed_frame_is_always_refused(tmp_path: Path, size: tuple[int, int], rescale: bool) -> None:
    phrases, errors = read_entities(published(tmp_path), CAPTIONS, {"1_a.jpg": size}, rescale).split()
    assert phrases == []
    assert [error.reason for error in errors] == [Reason.BAD_BOXES]
    assert "transposed" in errors[0].message


def test_another_size_is_refused_unless_rescaled(tmp_path: Path) -> None:
    path = published(tmp_path)
    phrases, errors = read_entities(path, CAPTIONS, {"1_a.jpg": (224, 224)}).split()
    assert phrases == []
    assert "rescale" in errors[0].message
    phrases, errors = read_entities(path, CAPTIONS, lambda _: (224, 224), rescale=True).split()
    assert errors == []
    np.testing.assert_allclose(phrases[0].boxes, [[0, 0, 224, 224], [22.4, 89.6, 67.2, 179.2]], rtol=1e-6)
    assert (phrases[0].width, phrases[0].height) == (224, 224)


def test_box_without_area_is_listed_and_one_that_reaches_out_is_clipped(tmp_path: Path) -> None:
    objects = (
        f"<object><name>2</name>{box(30, 10, 20, 40)}</object>"
        f"<object><name>2</name>{box(200, 10, 300, 40)}</object>"
        f"<object><name>3</name>{box(51, 1, 120, 50)}</object>"
    )
    reading = read_entities(published(tmp_path, objects), CAPTIONS, {"1_a.jpg": (100, 50)})
    phrases, errors = reading.split()
    assert [error.reason for error in errors] == [Reason.BAD_BOXES] * 2
    assert {tuple(phrase.boxes[0].tolist()) for phrase in phrases} == {(50, 0, 100, 50)}
    assert reading.counts["boxes_clipped"] == 1


def broken_xml(folder: Path) -> None:
    (folder / "Annotations/1.xml").write_text("<annotation><size>")


def xml_without_size(folder: Path) -> None:
    (folder / "Annotations/1.xml").write_text("<annotation/>")


def entity_bomb(folder: Path) -> None:
    (folder / "Annotations/1.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>')


def latin_sentences(folder: Path) -> None:
    (folder / "Sentences/1.txt").write_bytes(b"caf\xe9\n")


@pytest.mark.parametrize("damage", [broken_xml, xml_without_size, entity_bomb, latin_sentences])
def test_one_bad_file_is_listed_and_the_next_picture_is_read(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    published(tmp_path)
    path = published(tmp_path, identity="2")
    damage(tmp_path)
    captions = {**CAPTIONS, "2.jpg": [("2.jpg#0", "A man waits")], "3.jpg": [("3.jpg#0", "not annotated")]}
    reading = read_entities(path, captions, lambda _: (100, 50))
    phrases, errors = reading.split()
    assert len(errors) == 1
    assert "/1." in errors[0].uri
    assert {phrase.image_id for phrase in phrases} == {"2.jpg"}
    assert reading.counts["images_without_annotation"] == 1


def test_two_pictures_of_one_id_are_listed_not_guessed(tmp_path: Path) -> None:
    captions = {**CAPTIONS, "b/1_c.jpg": [("x", "A man waits")]}
    items = list(read_entities(published(tmp_path), captions, lambda _: (100, 50)))
    assert [item.reason for item in items if isinstance(item, InputError)] == [Reason.DUPLICATE_ID]


def test_zip_at_any_depth_reads_like_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    path = published(folder)
    archive = tmp_path / "annotations.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for file in folder.rglob("*.*"):
            target.write(file, f"Flickr30kEntities/{file.relative_to(folder)}")
            target.writestr(f"__MACOSX/{file.relative_to(folder).parent}/._{file.name}", b"\0")
    readings = [read_entities(source, CAPTIONS, lambda _: (100, 50)).split() for source in (path, str(archive))]
    assert [[phrase.to_json() for phrase in phrases] for phrases, _ in readings[:1]] == [
        [phrase.to_json() for phrase in phrases] for phrases, _ in readings[1:]
    ]
    assert readings[1][1] == []


def test_path_without_entities_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "cut.zip"):
        with pytest.raises(MissingInputError, match=path.name):
            read_entities(str(path), {}, {})


def test_ids_and_union_boxes() -> None:
    assert entity_id("photos/1000268201_693b08cb0e.jpg") == "1000268201"
    assert entity_id("1000092795.jpg") == "1000092795"
    assert union_box([[10, 20, 30, 40], [0, 25, 15, 60]]).tolist() == [0, 20, 30, 60]


@pytest.mark.shared
def test_published_annotations_match_flickr8k(shared: Path) -> None:
    texts: dict[str, list[tuple[str, str]]] = {}
    words: dict[str, list[str]] = {}
    for record in read_captions(str(shared / "data/flickr8k/Flickr8k.token.txt")):
        assert isinstance(record, CaptionRecord)
        texts.setdefault(record.image_name, []).append((record.caption_id, record.text))
        words[record.caption_id] = tokenize(record.text)
    path = str(shared / "data/flickr30k_entities/annotations.zip")
    reading = read_entities(path, texts, lambda _: (224, 224), rescale=True)
    phrases, errors = reading.split()
    counts = reading.counts
    assert errors == []
    assert (counts["images"], counts["images_without_annotation"], counts["sentences"]) == (7000, 0, 35000)
    assert (counts["boxes_clipped"], counts["phrases_unaligned"]) == (0, 0)
    assert counts["sentences_unmatched"] <= 0.05 * counts["sentences"]
    # All phrases of the zip, counted by their marks alone; those of matched sentences are read.
    with zipfile.ZipFile(path) as archive:
        marks = sum(archive.read(name).count(b"[/EN#") for name in archive.namelist())
    assert marks == 109_028
    assert counts["phrases"] >= 0.95 * marks
    assert len(phrases) == counts["phrases"] - counts["phrases_not_visual"] - counts["phrases_without_box"]
    boxes = np.concatenate([phrase.boxes for phrase in phrases])
    assert boxes.min() >= 0
    assert boxes.max() <= 224
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    for phrase in phrases:
        assert words[phrase.caption_id][phrase.start : phrase.end] == tokenize(phrase.text)
    _, refused = read_entities(path, dict(list(texts.items())[:50]), lambda _: (224, 224)).split()
    assert len(refused) == 50
