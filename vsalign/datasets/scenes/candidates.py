"""The boxes that a scene offers the `given` extractor: the objects' own, near misses of them, and ground.

With the whole image, 20 regions a scene, one of which is an object's box: chance is 1/20 (issue 3 asks for <=
0.15).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from vsalign.boxes import box_iou
from vsalign.datasets.scenes.layout import CANVAS, Scene, scene_random

Box = tuple[float, float, float, float]

CANDIDATES = 19
"""Boxes a scene; the extractor adds the whole image."""

NEAR_MISS = (0.3, 0.5)
"""IoU of a jittered box with its object: under 0.5, so never a hit."""

GROUND_IOU = 0.1
"""Of a ground box with any object, at most."""


def candidate_boxes(scene: Scene) -> list[Box]:
    """Nineteen boxes (x1, y1, x2, y2 px, two decimals) in random order.

    All objects' boxes, one or two jittered boxes of each at IoU 0.3 to 0.5, and ground boxes under IoU 0.1
    with every object.
    """
    rng = scene_random(scene.seed, scene.index, "candidates")
    objects = [item.box for item in scene.objects]
    boxes = list(objects)
    for _ in range(2 if len(objects) <= 5 else 1):
        boxes += [_near_miss(rng, objects, number) for number in range(len(objects))]
    while len(boxes) < CANDIDATES:
        boxes.append(_draw(rng, _anywhere, lambda box: max(_ious(box, objects)) < GROUND_IOU))
    rng.shuffle(boxes)
    return boxes


def _near_miss(rng: random.Random, objects: list[Box], number: int) -> Box:
    x1, y1, x2, y2 = objects[number]
    width, height = x2 - x1, y2 - y1

    def jitter(rng: random.Random) -> Box:
        new_width, new_height = width * rng.uniform(0.65, 1.5), height * rng.uniform(0.65, 1.5)
        x = (x1 + x2) / 2 + rng.uniform(-0.5, 0.5) * width - new_width / 2
        y = (y1 + y2) / 2 + rng.uniform(-0.5, 0.5) * height - new_height / 2
        return _round(x, y, x + new_width, y + new_height)

    def near(box: Box) -> bool:
        ious = _ious(box, objects)
        others = [iou for other, iou in enumerate(ious) if other != number]
        return NEAR_MISS[0] <= ious[number] < NEAR_MISS[1] and max(others) < NEAR_MISS[0]

    return _draw(rng, jitter, near)


def _anywhere(rng: random.Random) -> Box:
    width, height = rng.uniform(36, 130), rng.uniform(36, 130)
    x, y = rng.uniform(0, CANVAS - width), rng.uniform(0, CANVAS - height)
    return _round(x, y, x + width, y + height)


def _draw(rng: random.Random, make: Callable[[random.Random], Box], fits: Callable[[Box], bool]) -> Box:
    """The first drawn box inside the picture that fits; every scene of `make_scene` has one."""
    while True:
        box = make(rng)
        if min(box) >= 0 and max(box) <= CANVAS and fits(box):
            return box


def _round(x1: float, y1: float, x2: float, y2: float) -> Box:
    return round(x1, 2), round(y1, 2), round(x2, 2), round(y2, 2)


def _ious(box: Box, objects: list[Box]) -> list[float]:
    return [float(iou) for iou in box_iou([box], objects)[0]]
