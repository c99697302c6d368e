"""Box arithmetic against a plain count of pixels, and the boxes that break others' code."""

from __future__ import annotations

import numpy as np
import pytest

from vsalign.boxes import area, as_boxes, box_iou, centres, clip, points_inside, valid
from vsalign.errors import VsalignError


def pixels(box: np.ndarray) -> set[tuple[int, int]]:
    x1, y1, x2, y2 = box.astype(int).tolist()
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_iou_equals_a_count_of_pixels(dtype: type) -> None:
    rng = np.random.default_rng(1)
    boxes = rng.integers(0, 12, size=(40, 4)).astype(dtype)  # some of them inverted or empty

    measured = box_iou(boxes[:25], boxes[25:])

    for i, j in np.ndindex(measured.shape):
        a, b = pixels(boxes[i]), pixels(boxes[25 + j])
        expected = len(a & b) / len(a | b) if a | b else 0.0
        if valid(boxes[i])[0] and valid(boxes[25 + j])[0]:
            assert measured[i, j] == pytest.approx(expected)
    assert np.isfinite(measured).all()


def test_area_of_a_large_float16_box_is_finite() -> None:
    assert area(np.asarray([[0, 0, 300, 300]], np.float16)).tolist() == [90000.0]


def test_boxes_without_area_have_iou_zero_even_with_themselves() -> None:
    boxes = np.asarray([[5, 5, 5, 9], [3, 3, 3, 3], [9, 9, 1, 1]], np.float32)

    assert box_iou(boxes, boxes).max() == 0.0
    assert not valid(boxes).any()


def test_no_boxes_give_empty_results_of_the_right_shape() -> None:
    assert box_iou([], [[0, 0, 1, 1]]).shape == (0, 1)
    assert area([]).shape == (0,)
    assert as_boxes([1, 2, 3, 4]).shape == (1, 4)


def test_clip_cuts_to_the_picture_and_leaves_outside_boxes_without_area() -> None:
    boxes = np.asarray([[-5, 2, 50, 8], [30, 30, 40, 40]], np.float32)

    clipped = clip(boxes, width=20, height=10)

    assert clipped.tolist() == [[0, 2, 20, 8], [20, 10, 20, 10]]
    assert valid(clipped).tolist() == [True, False]


def test_not_finite_boxes_are_not_valid() -> None:
    boxes = np.asarray([[0, 0, np.nan, 5], [0, 0, np.inf, 5], [0, 0, 4, 5]])

    assert valid(boxes).tolist() == [False, False, True]


def test_points_on_an_edge_are_inside() -> None:
    assert centres([[0, 0, 10, 4]]).tolist() == [[5, 2]]
    assert points_inside([[5, 2], [11, 2]], [[5, 0, 10, 4], [0, 0, 1, 1]]).tolist() == [
        [True, False],
        [False, False],
    ]


def test_another_shape_is_refused() -> None:
    with pytest.raises(VsalignError, match=r"\(2, 5\)"):
        as_boxes(np.zeros((2, 5)))
