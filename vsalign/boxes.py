"""Arithmetic of boxes: always (n, 4) arrays of x1, y1, x2, y2 in pixels of the upright picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vsalign.errors import VsalignError


def as_boxes(boxes: ArrayLike) -> np.ndarray:
    """Boxes as an (n, 4) float32 or float64 array; one box (4,) becomes (1, 4), and no box becomes (0, 4).

    float16 is widened first: the area of a 300 x 300 px box is already beyond it. Raises VsalignError on
    another shape.
    """
    array = np.asarray(boxes)
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.shape == (4,):
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 4:
        raise VsalignError(f"boxes have the shape {array.shape}; give them as (n, 4): x1, y1, x2, y2 in pixels.")
    return array.astype(np.float64 if array.dtype.kind in "iu" else np.promote_types(array.dtype, np.float32))


def area(boxes: ArrayLike) -> np.ndarray:
    """Areas in px² (n,) of boxes (n, 4); an inverted box (x2 <= x1 or y2 <= y1) has area 0."""
    array = as_boxes(boxes)
    return np.clip(array[:, 2] - array[:, 0], 0, None) * np.clip(array[:, 3] - array[:, 1], 0, None)


def box_iou(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Intersection over union (n, m) of boxes a (n, 4) and b (m, 4); 0, never NaN, for boxes without area."""
    left, right = as_boxes(a), as_boxes(b)
    corner_min = np.maximum(left[:, None, :2], right[None, :, :2])
    corner_max = np.minimum(left[:, None, 2:], right[None, :, 2:])
    sides = np.clip(corner_max - corner_min, 0, None)
    intersection = sides[..., 0] * sides[..., 1]
    union = area(left)[:, None] + area(right)[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def clip(boxes: ArrayLike, width: float, height: float) -> np.ndarray:
    """Boxes (n, 4) cut to a picture of width x height px; one outside is left without area."""
    array = as_boxes(boxes)
    limits = np.asarray([width, height, width, height], array.dtype)
    return np.clip(array, np.zeros(4, array.dtype), limits)


def valid(boxes: ArrayLike) -> np.ndarray:
    """Which of the boxes (n, 4) are finite and have x2 > x1 and y2 > y1: (n,) bool."""
    array = as_boxes(boxes)
    ordered = (array[:, 2] > array[:, 0]) & (array[:, 3] > array[:, 1])
    return np.isfinite(array).all(axis=1) & ordered


def centres(boxes: ArrayLike) -> np.ndarray:
    """Centre points (n, 2) x, y in px of boxes (n, 4)."""
    array = as_boxes(boxes)
    return (array[:, :2] + array[:, 2:]) / 2


def points_inside(points: ArrayLike, boxes: ArrayLike) -> np.ndarray:
    """Which points (p, 2) lie in which boxes (n, 4), edges included: (p, n) bool."""
    array, xy = as_boxes(boxes), np.asarray(points)[:, None, :]
    inside = np.logical_and(xy >= array[None, :, :2], xy <= array[None, :, 2:])
    return np.all(inside, axis=-1)
