"""Boxes that people bring: read in the declared format, clipped or refused by id."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest

from vsalign import tables
from vsalign.errors import InputError, MissingInputError, Reason, TableError
from vsalign.regions.given import read_boxes
from vsalign.regions.lite import Given
from vsalign.storage import Output, Stage


def refused(url: str, name: str, width: int = 100, height: int = 50) -> InputError:
    boxes, _ = read_boxes(url)
    with pytest.raises(InputError) as error:
        boxes.of(name, width, height)
    assert name in error.value.message
    return error.value


def test_coco_boxes_are_x_y_width_height(coco) -> None:
    url = coco({"a.jpg": (100, 50, [[10, 5, 20, 30], [0, 0, 100, 50, 0.5]])})
    boxes, scores = read_boxes(url)[0].of("a.jpg", 100, 50)
    assert boxes.tolist() == [[10, 5, 30, 35], [0, 0, 100, 50]]
    assert (boxes.dtype, scores.tolist()) == (np.float32, [1.0, 0.5])


def test_the_digest_is_the_files(coco) -> None:
    import hashlib
    from pathlib import Path

    url = coco({"a.jpg": (100, 50, [])})
    assert read_boxes(url)[1] == hashlib.sha256(Path(url).read_bytes()).hexdigest()


def test_a_transposed_frame_is_refused_by_id(coco) -> None:
    error = refused(coco({"a.jpg": (50, 100, [[1, 2, 3, 4]])}), "a.jpg")
    assert error.reason is Reason.BAD_BOXES
    assert "50 x 100 px, the picture has 100 x 50 (transposed" in error.message


def test_another_frame_is_refused_by_id(coco) -> None:
    error = refused(coco({"a.jpg": (200, 100, [[1, 2, 3, 4]])}), "a.jpg")
    assert error.reason is Reason.BAD_BOXES
    assert "transposed" not in error.message


@pytest.mark.parametrize(
    "box",
    [
        [10, 10, 0, 5],
        [10, 10, -4, 5],
        [math.nan, 10, 5, 5],
        [10, 10, math.inf, 5],
        [98, 10, 5, 5],
        [-3, 10, 5, 5],
        [60, 10, 80, 40],  # xyxy taken for xywh
        [101, 10, 0.5, 5],  # nothing is left of it after clipping
        [10, 10, 5, 5, math.nan],
    ],
)
def test_an_impossible_box_is_refused_by_id(coco, box: list[float]) -> None:
    error = refused(coco({"b.jpg": (100, 50, [[1, 2, 3, 4], box])}), "b.jpg")
    assert error.reason is Reason.BAD_BOXES
    assert "box 1 is" in error.message


def test_a_pixel_over_the_edge_is_clipped(coco) -> None:
    url = coco({"a.jpg": (100, 50, [[-1, -0.5, 20, 20], [90, 40, 11, 10.5]])})
    boxes, _ = read_boxes(url)[0].of("a.jpg", 100, 50)
    assert boxes.tolist() == [[0, 0, 19, 19.5], [90, 40, 100, 50]]


def test_a_picture_that_the_file_does_not_name_has_no_boxes(coco) -> None:
    assert refused(coco({"a.jpg": (100, 50, [])}), "dir/a.jpg").reason is Reason.NO_BOXES


def test_a_picture_with_zero_boxes_is_its_whole_image(coco, make_picture) -> None:
    given = Given(coco({"a.jpg": (90, 60, [])}), input_size=64)
    regions = given.extract([given.prepare("a.jpg", make_picture(0))])[0]
    assert regions.boxes.tolist() == [[0, 0, 90, 60]]
    assert (regions.scores.tolist(), regions.features.shape) == ([1.0], (1, 1280))


def test_the_best_boxes_come_first_after_the_whole_image(coco, make_picture) -> None:
    boxes = [[0, 0, 10 + n, 10, score] for n, score in enumerate([0.2, 0.9, 0.4, 0.9])]
    given = Given(coco({"a.jpg": (90, 60, boxes)}), input_size=64, top_k=3)
    regions = given.extract([given.prepare("a.jpg", make_picture(0))])[0]
    assert regions.boxes[:, 2].tolist() == [90, 11, 13, 12]
    np.testing.assert_allclose(regions.scores, [1, 0.9, 0.9, 0.4])


def test_a_box_of_the_whole_picture_has_the_whole_pictures_feature(coco, make_picture, lite) -> None:
    """Also in a batch of pictures of other sizes and numbers of boxes."""
    url = coco({"a.jpg": (90, 60, [[0, 0, 90, 60]]), "b.jpg": (40, 120, []), "c.jpg": (90, 60, [[0, 0, 45, 30]] * 2)})
    given = Given(url, input_size=64)
    shapes = {"a.jpg": (90, 60), "b.jpg": (40, 120), "c.jpg": (90, 60)}
    batch = [given.prepare(name, make_picture(n, *size)) for n, (name, size) in enumerate(shapes.items())]
    found = given.extract(batch)
    assert [len(regions.boxes) for regions in found] == [2, 1, 3]
    np.testing.assert_allclose(found[0].features[0], found[0].features[1], rtol=1e-6)
    fixed = lite.extract([lite.prepare("c.jpg", make_picture(2))])[0]
    np.testing.assert_allclose(found[2].features[1], fixed.features[1], rtol=1e-3, atol=1e-4)  # the top left quarter


def test_boxes_of_a_regions_table_are_taken_again(tmp_path) -> None:
    output = Output(
        str(tmp_path / "regions"), "regions", tables.regions_schema(2), "extract", {}, {"extractor": {"dim": 2}}
    )
    stage = Stage(output)
    stage.plan([[{"n": 0}]], pa.schema([("n", pa.int64())]), {})
    writer = output.open_shard(stage.pending()[0])
    row = {"image_id": "a.jpg", "uri": "a.jpg", "width": 100, "height": 50, "scores": [1, 0.5]}
    writer.write([{**row, "boxes": [[0, 0, 100, 50], [1, 2, 3, 4]], "features": [b"abcd"] * 2}])
    writer.commit(1)
    stage.finish()
    boxes, digest = read_boxes(output.url)
    found, scores = boxes.of("a.jpg", 100, 50)
    assert (found.tolist(), scores.tolist(), len(digest)) == ([[1, 2, 3, 4]], [0.5], 64)


def test_a_results_list_names_its_pictures_itself(tmp_path) -> None:
    path = tmp_path / "detections.json"
    path.write_text(json.dumps([{"image_id": "a.jpg", "bbox": [1, 2, 3, 4], "score": 0.5, "category_id": 1}]))
    boxes, scores = read_boxes(str(path))[0].of("a.jpg", 640, 480)
    assert (boxes.tolist(), scores.tolist()) == ([[1, 2, 4, 6]], [0.5])
    path.write_text(json.dumps([{"image_id": 139, "bbox": [1, 2, 3, 4], "score": 0.5}]))
    with pytest.raises(TableError, match="names pictures by number .139."):
        read_boxes(str(path))


IMAGE = {"id": 1, "file_name": "a.jpg", "width": 1, "height": 1}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "Expecting"),
        ("{}", "images"),
        ("3", "no COCO JSON"),
        (json.dumps({"images": [IMAGE]}), "annotations"),
        (json.dumps({"images": [IMAGE, {**IMAGE, "id": 2}], "annotations": []}), "share an id or a file_name"),
        (json.dumps({"images": [IMAGE], "annotations": [{"image_id": 7, "bbox": [0, 0, 1, 1]}]}), "annotation 0 is of"),
        (json.dumps({"images": [IMAGE], "annotations": [{"image_id": 1, "bbox": [0, 0, 1]}]}), "bbox of 3 numbers"),
        (json.dumps({"images": [IMAGE], "annotations": [{"image_id": 1, "bbox": None}]}), "no COCO JSON"),
    ],
)
def test_a_file_of_another_kind_is_one_sentence(tmp_path, document: str, said: str) -> None:
    (tmp_path / "boxes.json").write_text(document)
    with pytest.raises(TableError, match=said):
        read_boxes(str(tmp_path / "boxes.json"))


def test_a_missing_file_or_table_is_named(tmp_path) -> None:
    for name in ("boxes.json", "regions"):
        with pytest.raises(MissingInputError, match=name):
            read_boxes(str(tmp_path / name))
