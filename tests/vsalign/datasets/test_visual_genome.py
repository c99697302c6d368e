"""Visual Genome's regions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vsalign.datasets.files import json_array
from vsalign.datasets.visual_genome import read_regions
from vsalign.errors import ConfigurationError, MissingInputError, Reason


def region(number: int, x: Any, y: Any, width: Any, height: Any, phrase: Any = "a dog") -> dict[str, Any]:
    sides = {"x": x, "y": y, "width": width, "height": height}
    return {"region_id": number, "image_id": 1, "phrase": phrase, **sides}


def write(folder: Path, regions: list[Any]) -> str:
    file = folder / "region_descriptions.json"
    file.write_text(json.dumps([{"id": 1, "regions": regions}]))
    return str(file)


def test_boxes_become_corners_and_bad_ones_are_refused_by_id(tmp_path: Path) -> None:
    nan = float("nan")
    regions = [
        region(10, 5, 6, 20, 30, "None"),
        region(11, 5, 6, 0, 30),
        region(12, 5, 6, -3, 30),
        region(13, nan, 6, 20, 30),
        region(14, -5, 90, 20, 30),
        region(15, 100, 0, 20, 30),
        region(16, "5", 6, 20, 30),
        region(17, 5, 6, 20, 30, " "),
        region(18, 5, 6, float("inf"), 30),
        region(19, 5, 6, 10**400, 30),
    ]
    reading = read_regions(write(tmp_path, regions), image_sizes={"1.jpg": (100, 100)})
    records, errors = reading.split()
    assert [(record.region_id, record.image_name, record.text) for record in records] == [
        ("10", "1.jpg", "None"),
        ("14", "1.jpg", "a dog"),
    ]
    assert [record.box.tolist() for record in records] == [[5, 6, 25, 36], [0, 90, 15, 100]]
    assert reading.counts["boxes_clipped"] == 1
    bad, infinite, line = Reason.BAD_BOXES, Reason.NOT_FINITE, Reason.BAD_LINE
    assert [error.reason for error in errors] == [bad, bad, infinite, bad, bad, line, infinite, infinite]
    for error, number in zip(errors, (11, 12, 13, 15, 16, 17, 18, 19), strict=True):
        assert f"region {number} of 1.jpg" in error.message


def test_declared_corner_format_is_not_taken_for_sides(tmp_path: Path) -> None:
    path = write(tmp_path, [region(10, 50, 60, 70, 80), region(11, 50, 60, 40, 80)])
    records, errors = read_regions(path, box_format="xyxy").split()
    assert [record.box.tolist() for record in records] == [[50, 60, 70, 80]]
    assert "region 11" in errors[0].message
    with pytest.raises(ConfigurationError, match="'yxyx' is unknown"):
        read_regions(path, box_format="yxyx")


def test_missing_file_is_found_before_reading(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="absent"):
        read_regions(str(tmp_path / "absent.json"))


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("indent", [None, 2])
def test_array_is_read_element_by_element_whatever_the_chunks(tmp_path: Path, chunk: int, indent: int | None) -> None:
    elements = [{"a": [1, "]é,"]}, 12345, "x", [], None, -0.5]
    file = tmp_path / "array.json"
    file.write_text(json.dumps(elements, ensure_ascii=False, indent=indent), "utf-8")
    assert list(json_array(str(file), chunk)) == elements
    file.write_text(" [ ] ")
    assert list(json_array(str(file), chunk)) == []


@pytest.mark.parametrize("content", ["{}", "", "[1, 2", "[1 2]", '[{"a": 1}, {"b"', "[1,,2]", "[nonsense]", "[1,]"])
def test_damaged_array_is_one_sentence_with_the_file(tmp_path: Path, content: str) -> None:
    file = tmp_path / "array.json"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"array\.json"):
        list(json_array(str(file)))
