"""Karpathy's and COCO's JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vsalign.datasets.captions import read_captions
from vsalign.errors import ConfigurationError, Reason


def write(folder: Path, content: Any, name: str = "file.json") -> str:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return str(file)


def image(number: int, split: str, *raws: Any, **more: Any) -> dict[str, Any]:
    sentences = [{"raw": raw, "sentid": 10 * number + place} for place, raw in enumerate(raws)]
    return {"filename": f"{number}.jpg", "imgid": number, "split": split, "sentences": sentences, **more}


def test_restval_is_train_by_default_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, {"images": [image(0, "train", "a"), image(1, "restval", "b"), image(2, "val", "c")]})
    reading = read_captions(path)
    records, _ = reading.split()
    assert reading.format == "karpathy"
    assert [record.split for record in records] == ["train", "train", "dev"]
    assert reading.counts["restval_images"] == 1
    apart = read_captions(path, restval="restval")
    assert [record.split for record in apart.split()[0]] == ["train", "restval", "dev"]
    assert apart.counts["restval_images"] == 0


@pytest.mark.parametrize(
    ("second", "named"),
    [
        ({**image(1, "test", "b"), "filename": "0.jpg"}, r"0\.jpg"),
        ({**image(1, "test", "b"), "imgid": 0}, "imgid 0"),
    ],
)
def test_picture_in_two_splits_is_an_error_that_names_it(tmp_path: Path, second: dict[str, Any], named: str) -> None:
    path = write(tmp_path, {"images": [image(0, "train", "a"), second]})
    with pytest.raises(ConfigurationError, match=rf"{named} is in the split train .* and in test"):
        read_captions(path)


def test_karpathy_joins_filepath_keeps_strings_and_lists_bad_sentences(tmp_path: Path) -> None:
    images = [
        image(0, "train", "None", 'He said ""hi""', "", None, "\ud800", filepath="val2014"),
        {"split": "train", "sentences": []},
        {
            **image(3, "test"),
            "sentences": [{"tokens": ["two", "dogs"], "sentid": 30}, {"raw": "again", "sentid": 30}],
        },
        {"filename": "4.jpg", "sentences": [{"raw": "no split"}]},
    ]
    reading = read_captions(write(tmp_path, {"images": images}))
    records, errors = reading.split()
    assert [(record.image_name, record.caption_id, record.text) for record in records] == [
        ("val2014/0.jpg", "0", "None"),
        ("val2014/0.jpg", "1", 'He said ""hi""'),
        ("3.jpg", "30", "two dogs"),
        ("4.jpg", "4.jpg#0", "no split"),
    ]
    assert {error.reason for error in errors} == {Reason.BAD_LINE}
    places = [error.uri.partition(".json:")[2] for error in errors]
    assert [place.replace("val2014/0.jpg", "0") for place in places] == [
        "images[0] (0) sentences[2]",
        "images[0] (0) sentences[3]",
        "images[0] (0) sentences[4]",
        "images[1]",
        "images[2] (3.jpg) sentences[1]",
    ]
    assert reading.counts["no_split"] == 1


def coco() -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": "COCO_val2014_7.jpg"}, {"id": 8, "file_name": "8.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 7, "caption": "NA\n"},
            {"id": 2, "image_id": 9, "caption": "a picture that is not listed"},
            {"id": 3, "image_id": 8, "caption": " "},
            {"id": 4, "image_id": 8, "caption": 5},
            {"image_id": [8], "caption": "x"},
            {"id": 1, "image_id": 8, "caption": "an id again"},
            {"id": 6, "image_id": 8, "caption": "two dogs"},
        ],
    }


def test_coco_captions_are_read_and_bad_annotations_listed(tmp_path: Path) -> None:
    reading = read_captions(write(tmp_path, coco()))
    records, errors = reading.split()
    assert reading.format == "coco"
    assert [(record.image_name, record.caption_id, record.split, record.text) for record in records] == [
        ("COCO_val2014_7.jpg", "1", "dev", "NA"),
        ("8.jpg", "6", None, "two dogs"),
    ]
    bad, missing = Reason.BAD_LINE, Reason.MISSING_IMAGE
    assert [error.reason for error in errors] == [missing, bad, bad, missing, bad]


@pytest.mark.parametrize(
    ("name", "split", "expected"),
    [
        ("captions_train2014.json", None, "train"),
        ("captions_val2017.json", None, "dev"),
        ("captions_val2017.json", "test", "test"),
        ("mine.json", "val", "dev"),
    ],
)
def test_coco_split_goes_by_option_then_file_name(tmp_path: Path, name: str, split: str | None, expected: str) -> None:
    records, _ = read_captions(write(tmp_path, coco(), name), split=split).split()
    assert {record.split for record in records} == {expected}


def test_one_coco_image_id_for_two_pictures_is_refused(tmp_path: Path) -> None:
    content = coco()
    content["images"].append({"id": 7, "file_name": "other.jpg"})
    with pytest.raises(ConfigurationError, match=r"7 to COCO_val2014_7\.jpg and to other\.jpg"):
        read_captions(write(tmp_path, content))


@pytest.mark.parametrize("content", ['{"images": [', "{}", "[]", '{"images": 3, "annotations": []}'])
def test_cut_or_foreign_json_is_one_sentence_with_the_file(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigurationError, match=r"file\.json"):
        read_captions(write(tmp_path, content))


def test_options_without_meaning_for_a_format_are_refused(tmp_path: Path) -> None:
    karpathy = write(tmp_path, {"images": [image(0, "train", "a")]})
    with pytest.raises(ConfigurationError, match="splits"):
        read_captions(karpathy, splits={"train": "x"})
    with pytest.raises(ConfigurationError, match="option split"):
        read_captions(karpathy, split="train")
