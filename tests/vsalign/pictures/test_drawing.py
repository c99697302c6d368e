"""The figure of an alignment: boxes where they belong, colours that people tell apart, texts that fit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vsalign.pictures import PALETTE, colour, draw_alignment
from vsalign.pictures.drawing import visible_boxes
from vsalign.pictures.palette import NEUTRAL, contrast, ink

# Viénot, Brettel, Mollon (1999): linear RGB as a person without long or without medium cones sees it.
PROTAN = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
DEUTAN = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(rgb: tuple[int, int, int], sight: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of a colour as seen through a 3 x 3 matrix on linear RGB."""
    channel = np.array(rgb) / 255
    linear = np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(sight @ linear, 0, 1) / np.array([0.9505, 1, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def blank(width: int = 200, height: int = 120) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def pixels_of(picture: np.ndarray, rgb: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """The smallest box, xyxy with exclusive ends, around the pixels of a colour."""
    rows, columns = np.nonzero((picture == np.array(rgb)).all(axis=-1))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.mark.parametrize("sight", [np.eye(3), PROTAN, DEUTAN], ids=["usual", "protan", "deutan"])
def test_colours_differ_for_every_kind_of_sight(sight: np.ndarray) -> None:
    seen = [lab(rgb, sight) for rgb in (*PALETTE, NEUTRAL)]
    distances = [float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)]
    assert min(distances) > 10  # 2.3 is just noticeable


def test_text_on_every_colour_is_readable() -> None:
    assert all(contrast(rgb, ink(rgb)) >= 4.5 for rgb in (*PALETTE, NEUTRAL))


def test_outline_is_exactly_the_box_and_the_picture_is_otherwise_unchanged() -> None:
    image = blank()
    drawn = draw_alignment(image, [[20, 30, 90, 100]], [("a dog", 0, 1)])
    picture = np.asarray(drawn)[:120]
    assert drawn.width == 200 and drawn.height > 120
    assert pixels_of(picture, colour(1)) == (20, 30, 90, 100)
    outside = np.ones((120, 200), bool)
    outside[30:100, 20:90] = False
    assert (picture[outside] == 128).all()
    assert (image == 128).all()


def test_phrases_below_the_picture_have_the_colours_of_their_boxes() -> None:
    drawn = np.asarray(
        draw_alignment(blank(), [[0, 0, 40, 40], [50, 50, 90, 90]], [("a dog", 0, 0), ("on", None, 5), ("grass", 1, 3)])
    )
    strip = drawn[120:]
    first, second = pixels_of(strip, colour(0)), pixels_of(strip, colour(3))
    assert first[2] <= second[0]  # in sentence order
    assert not (strip == np.array(colour(5))).all(axis=-1).any()  # words of no region stay plain


def test_box_of_the_whole_picture_is_grey_and_unusable_boxes_are_left_out() -> None:
    boxes = [[0, 0, 200, 120], [np.nan, 0, 10, 10], [50, 50, 40, 60], [500, 500, 600, 600]]
    drawn = np.asarray(draw_alignment(blank(), boxes, [("all", 0, 0), *((f"bad {n}", n, n) for n in (1, 2, 3))]))[:120]
    assert pixels_of(drawn, NEUTRAL) == (0, 0, 200, 120)
    assert not any((drawn == np.array(colour(n))).all(axis=-1).any() for n in (0, 1, 2, 3))


def test_box_is_cut_at_the_edges_of_the_picture() -> None:
    assert visible_boxes([[-5, 10, 50, 400], [np.inf, 0, 1, 1]], 200, 120) == [(0.0, 10.0, 50.0, 120.0), None]
    assert visible_boxes([], 200, 120) == []


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (2, 3000)])
def test_extreme_pictures_and_endless_phrases_are_drawn(size: tuple[int, int]) -> None:
    phrase = "x" * 10_000 + "\n\t\u202e"
    drawn = draw_alignment(blank(*size), [[0, 0, size[0], size[1]]], [(phrase, 0, 0), ("", None, 0)] * 20)
    assert drawn.width == size[0]


def test_region_without_a_box_and_a_wrong_image_are_refused() -> None:
    with pytest.raises(ValueError, match="'a dog' names region 1, but there are 1 boxes"):
        draw_alignment(blank(), [[0, 0, 1, 1]], [("a dog", 1, 0)])
    with pytest.raises(ValueError, match="uint8 is wanted"):
        draw_alignment(blank().astype(np.float32), [], [])
