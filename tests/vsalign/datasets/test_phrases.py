"""One door to phrases with boxes: told apart by what is there, and read as the data set means it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vsalign.datasets.phrases import by_image, read_truth, require_truth
from vsalign.datasets.records import PhraseTruth
from vsalign.errors import ConfigurationError, MissingInputError, Reason

SIZES = {"photos/1.jpg": (100, 50), "photos/2.jpg": (100, 50)}
CAPTIONS = {image_id: [(f"{image_id}#0", "A child is climbing")] for image_id in SIZES}


def annotation(number: int, bbox: Any, image: int = 1, category: int | None = 1, **more: Any) -> dict[str, Any]:
    category_id = {} if category is None else {"category_id": category}
    return {"id": number, "image_id": image, "bbox": bbox, **category_id, **more}


@pytest.fixture
def coco(tmp_path: Path) -> Callable[..., str]:
    """instances.json of such annotations; image 1 is photos/1.jpg, 3 nobody's."""

    def write(rows: list[Any], **changes: Any) -> str:
        names = {1: "1.jpg", 2: "photos/2.jpg", 3: "val/3.jpg"}
        images = [{"id": n, "file_name": name, "width": 100, "height": 50} for n, name in names.items()]
        categories = [{"id": 1, "name": "dog", "supercategory": "animal"}, {"id": 2, "name": "kite"}]
        content = {"images": images, "categories": categories, "annotations": rows, **changes}
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(content))
        return str(path)

    return write


def read(path: str, **options: Any) -> tuple[list[PhraseTruth], list[Any], Any]:
    truth = read_truth(path, CAPTIONS, SIZES, **options)
    return (*truth.split(), truth)


def test_each_box_of_coco_is_a_phrase_of_its_picture(coco: Callable[..., str]) -> None:
    path = coco([annotation(1, [10, 5, 20, 30]), annotation(2, [0, 0, 100, 50], image=2, category=2)])
    (dog, kite), errors, truth = read(path)
    assert (dog.image_id, dog.text, dog.kind, dog.boxes.tolist()) == (
        "photos/1.jpg",
        "dog",
        "animal",
        [[10, 5, 30, 35]],
    )
    assert (kite.image_id, kite.text, kite.kind) == ("photos/2.jpg", "kite", "kite")
    assert (dog.caption_id, dog.start, dog.end, dog.width, dog.height) == ("", 0, 0, 100, 50)
    assert dog.boxes.dtype == np.float32 and not errors
    assert (truth.format, truth.sure) == ("coco", 1)
    counts = {"images": 2, "images_of_others": 1, "records": 2}
    assert {name: count for name, count in truth.counts.items() if count} == counts


def test_a_crowd_is_left_out_and_counted(coco: Callable[..., str]) -> None:
    path = coco([annotation(1, [10, 5, 20, 30], iscrowd=1), annotation(2, [10, 5, 20, 30], iscrowd=0)])
    phrases, errors, truth = read(path)
    assert (len(phrases), len(errors), truth.counts["boxes_crowd"]) == (1, 0, 1)
    assert truth.counts["images_without_box"] == 1


def test_a_box_over_the_edge_is_cut_and_counted(coco: Callable[..., str]) -> None:
    phrases, errors, truth = read(coco([annotation(1, [90, -5, 20, 30]), annotation(2, [0, 0, 100, 50])]))
    assert [phrase.boxes.tolist() for phrase in phrases] == [[[90, 0, 100, 25]], [[0, 0, 100, 50]]]
    assert (errors, truth.counts["boxes_clipped"]) == ([], 1)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (annotation(9, [10, 5, 0, 30]), Reason.BAD_BOXES),
        (annotation(9, [10, 5, -4, 30]), Reason.BAD_BOXES),
        (annotation(9, [100, 5, 20, 30]), Reason.BAD_BOXES),
        (annotation(9, [-30, 5, 20, 30]), Reason.BAD_BOXES),
        (annotation(9, [10, 5, 20]), Reason.BAD_BOXES),
        (annotation(9, ["10", 5, 20, 30]), Reason.BAD_BOXES),
        (annotation(9, [True, 5, 20, 30]), Reason.BAD_BOXES),
        (annotation(9, None), Reason.BAD_BOXES),
        (annotation(9, {"x": 1}), Reason.BAD_BOXES),
        (annotation(9, [10, 5, float("nan"), 30]), Reason.NOT_FINITE),
        (annotation(9, [10, 5, float("inf"), 30]), Reason.NOT_FINITE),
        (annotation(9, [10, 5, 10**400, 30]), Reason.NOT_FINITE),
        (annotation(9, [1, 2, 3, 4], category=7), Reason.BAD_LINE),
        (annotation(9, [1, 2, 3, 4], image=8), Reason.MISSING_IMAGE),
        ("no annotation", Reason.BAD_LINE),
        ({"bbox": [1, 2, 3, 4]}, Reason.BAD_LINE),
    ],
)
def test_a_bad_annotation_is_an_error_and_the_others_stay(bad: Any, reason: Reason, coco: Callable[..., str]) -> None:
    phrases, (error,), truth = read(coco([annotation(1, [1, 2, 3, 4]), bad, annotation(2, [5, 6, 7, 8])]))
    assert [phrase.boxes.tolist() for phrase in phrases] == [[[1, 2, 4, 6]], [[5, 6, 12, 14]]]
    assert error.reason == reason and "annotations[1]" in error.message and "\n" not in error.message
    assert (truth.counts["records"], truth.counts["errors"]) == (2, 1)


def test_a_bad_annotation_of_a_picture_that_no_one_asked_for_is_no_error(coco: Callable[..., str]) -> None:
    phrases, errors, _ = read(coco([annotation(1, None, image=3)]))
    assert (phrases, errors) == ([], [])


@pytest.mark.parametrize(
    ("side", "said"), [((200, 100), "ask for rescale"), ((50, 100), "transposed"), (("x", 100), "boxes for x x 100")]
)
def test_boxes_of_another_frame_are_refused_by_picture(side: Any, said: str, coco: Callable[..., str]) -> None:
    images = [{"id": 1, "file_name": "1.jpg", "width": side[0], "height": side[1]}, {"id": 2, "file_name": "2.jpg"}]
    boxes = [annotation(1, [1, 2, 3, 4]), annotation(2, [1, 2, 3, 4]), annotation(3, [1, 2, 3, 4], image=2)]
    (phrase,), (error,), _ = read(coco(boxes, images=images))
    assert phrase.image_id == "photos/2.jpg"  # whose size is not said
    assert error.reason is Reason.BAD_BOXES and said in error.message


def test_rescaled_boxes_go_with_the_picture(coco: Callable[..., str]) -> None:
    images = [{"id": 1, "file_name": "1.jpg", "width": 200, "height": 200}]
    (phrase,), errors, _ = read(coco([annotation(1, [20, 20, 100, 100])], images=images), rescale=True)
    assert (phrase.boxes.tolist(), errors) == ([[10, 5, 60, 30]], [])


def test_two_pictures_that_mean_the_same_are_not_guessed(coco: Callable[..., str]) -> None:
    images = [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "b/photos/1.jpg"}, {"id": 3}]
    boxes = [annotation(1, [1, 2, 3, 4]), annotation(2, [5, 6, 7, 8], image=2)]
    phrases, errors, _ = read(coco(boxes, images=images))
    assert [phrase.boxes.tolist() for phrase in phrases] == [[[1, 2, 4, 6]]]
    assert [error.reason for error in errors] == [Reason.DUPLICATE_ID, Reason.BAD_LINE]


def test_boxes_without_categories_are_objects(coco: Callable[..., str]) -> None:
    (phrase,), _, _ = read(coco([annotation(1, [1, 2, 3, 4], category=None)], categories=[]))
    assert (phrase.text, phrase.kind) == ("object", "object")


@pytest.mark.parametrize("changes", [{"images": None}, {"annotations": {}}, {"categories": {}}, {"categories": [{}]}])
def test_another_json_is_one_sentence(changes: dict[str, Any], coco: Callable[..., str]) -> None:
    with pytest.raises(ConfigurationError, match=r"instances\.json") as error:
        read(coco([], **changes))
    assert "\n" not in str(error.value)


@pytest.fixture
def genome(tmp_path: Path) -> str:
    def region(number: int, x: float, width: float, phrase: Any = "the red kite") -> dict[str, Any]:
        return {"region_id": number, "image_id": 1, "phrase": phrase, "x": x, "y": 5, "width": width, "height": 20}

    regions = [region(10, 10, 30), region(11, 10, 0), region(12, 200, 5), region(13, 90, 30), region(14, 1, 2, None)]
    other = [{**region(20, 10, 0), "image_id": 99}]
    path = tmp_path / "region_descriptions.json"
    path.write_text(json.dumps([{"id": 1, "regions": regions}, {"id": 99, "regions": other}]))
    return str(path)


def test_each_region_of_visual_genome_is_a_phrase(genome: str) -> None:
    """Of the pictures asked for, wherever N.jpg lies; the regions of others are passed over, right or wrong."""
    phrases, errors, truth = read(genome)
    assert [phrase.boxes.tolist() for phrase in phrases] == [[[10, 5, 40, 25]], [[90, 5, 100, 25]]]
    first = phrases[0]
    assert (first.image_id, first.text, first.kind) == ("photos/1.jpg", "the red kite", "region")
    assert (first.caption_id, first.start, first.end, first.width, first.height) == ("", 0, 0, 100, 50)
    assert [error.reason for error in errors] == [Reason.BAD_BOXES, Reason.BAD_BOXES, Reason.BAD_LINE]
    assert (truth.format, truth.sure, truth.counts["boxes_clipped"]) == ("visual_genome", 1, 1)
    assert (truth.counts["records"], truth.counts["errors"]) == (2, 3)
    assert truth.counts["regions_of_other_images"] == 1
    with pytest.raises(ConfigurationError, match="leave --rescale out"):
        read(genome, rescale=True)


def test_lines_of_phrases_are_read_one_by_one(tmp_path: Path) -> None:
    good = PhraseTruth("photos/1.jpg", "photos/1.jpg#0", 0, 2, "a child", "people", np.array([[1, 2, 3, 4]]), 100, 50)
    thin = PhraseTruth("photos/1.jpg", "photos/1.jpg#0", 0, 2, "a child", "people", np.array([[1, 2, 1, 4]]), 100, 50)
    other = good.to_json().replace("photos/1.jpg#0", "photos/1.jpg#7")
    lines = [good.to_json(), "{", "[]", '{"image_id": "x"}', other, thin.to_json(), "", "\xff", good.to_json()]
    path = tmp_path / "phrases.jsonl"
    path.write_bytes("\n".join(lines).encode("latin-1"))
    phrases, errors, truth = read(str(path))
    assert [phrase.text for phrase in phrases] == ["a child", "a child"]
    assert [error.reason for error in errors] == [Reason.BAD_LINE] * 3 + [Reason.BAD_BOXES, Reason.BAD_LINE]
    assert errors[0].message.startswith(f"{path}:2 ")
    assert (truth.format, truth.sure, truth.counts["records"], truth.counts["errors"]) == ("scenes", 5, 2, 5)


def entities(folder: Path) -> None:
    size = "<size><width>100</width><height>50</height></size>"
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>10</xmax><ymax>20</ymax></bndbox>"
    for kind, name, content in (
        ("Annotations", "1.xml", f"<annotation>{size}<object><name>18</name>{box}</object></annotation>"),
        ("Sentences", "1.txt", "[/EN#18/people A child] is climbing\n"),
    ):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / name).write_text(content)


@pytest.mark.parametrize("place", ["folder", "zip"])
def test_entities_are_told_by_what_is_there(place: str, tmp_path: Path) -> None:
    entities(tmp_path / "entities")
    path = tmp_path / "entities"
    if place == "zip":
        path = tmp_path / "annotations.any"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted((tmp_path / "entities").rglob("*.*")):
                archive.write(file, file.relative_to(tmp_path / "entities"))
    require_truth(str(path))
    (phrase,), _, truth = read(str(path))
    assert (phrase.caption_id, phrase.kind, phrase.boxes.tolist()) == ("photos/1.jpg#0", "people", [[0, 0, 10, 20]])
    assert (truth.format, truth.sure, truth.counts["records"]) == ("entities", 5, 1)


def test_what_is_no_truth_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "captions.txt").write_text("1.jpg#0\ta child")
    for name, kind, said in (
        ("absent.json", MissingInputError, "absent.json"),
        ("absent.jsonl", MissingInputError, "absent.jsonl"),
        ("empty", MissingInputError, "Annotations/ID.xml"),
        ("captions.txt", ConfigurationError, "holds no phrases with boxes: give a phrases.jsonl"),
    ):
        for look in (require_truth, lambda path: read_truth(path, CAPTIONS, SIZES)):
            with pytest.raises(kind, match=said) as error:
                look(str(tmp_path / name))
            assert "\n" not in str(error.value)


def test_captions_are_gathered_by_picture() -> None:
    assert by_image([("a", "a#0", "x"), ("b", "b#0", "y"), ("a", "a#1", "z")]) == {
        "a": [("a#0", "x"), ("a#1", "z")],
        "b": [("b#0", "y")],
    }
