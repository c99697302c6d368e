"""Shape and colour words of region captions against the truth of a scene."""

from __future__ import annotations

import pytest

from vsalign.datasets.scenes import COLOURS, SHAPES
from vsalign.errors import VsalignError
from vsalign.evaluation.regions import shape_colour_accuracy


def test_only_the_right_shape_and_colour_and_no_other_count() -> None:
    regions = [
        ("A red circle.", "circle", "red"),
        ("the RED circle, on the left", "circle", "red"),
        ("a red circle next to a star", "circle", "red"),  # names another shape too
        ("a red and blue circle", "circle", "red"),  # names another colour too
        ("a blue circle", "circle", "red"),
        ("a circle", "circle", "red"),
        ("", "circle", "red"),
        ("redcircle", "circle", "red"),  # no word of it
    ]

    measured = shape_colour_accuracy(regions, SHAPES, COLOURS)

    assert (measured.both, measured.shape, measured.colour) == (2 / 8, 5 / 8, 3 / 8)
    assert str(measured).startswith("right shape and colour, and no other: 25.0 % of 8 regions")


def test_a_truth_outside_the_word_lists_and_no_region_are_refused() -> None:
    with pytest.raises(VsalignError, match="'purple' 'circle' is not among"):
        shape_colour_accuracy([("a purple circle", "circle", "purple")], SHAPES, COLOURS)
    with pytest.raises(VsalignError, match="no region"):
        shape_colour_accuracy([], SHAPES, COLOURS)
