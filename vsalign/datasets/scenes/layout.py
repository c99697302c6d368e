"""Which objects a scene holds and where: a pure function of (seed, index), so that no scene hangs on how many
there are.

A scene has four to six objects on 320 x 320 px. No two of them have both shape and colour in common, but at
least two share one of them, so that neither the shape nor the colour alone tells which object a phrase means.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np

from vsalign.boxes import box_iou

CANVAS = 320
"""Width and height in px."""

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 25, 30),
    "green": (25, 160, 45),
    "blue": (30, 60, 225),
    "yellow": (252, 225, 25),
    "pink": (255, 75, 205),
    "cyan": (25, 215, 225),
    "black": (14, 14, 16),
    "white": (250, 250, 250),
}
"""sRGB, near the eight corners of the colour cube: as far apart as eight colours can be."""

SIZES: dict[str, tuple[int, int]] = {"small": (48, 64), "large": (88, 112)}
"""The longer side in px; the gap between the two keeps the words true."""

MAX_IOU = 0.02
"""Of two objects' boxes."""

MARGIN = 5  # px between an object and the edge of the picture
MAX_TILT = 14  # degrees; more would make a square look like a diamond


@dataclass(frozen=True)
class SceneObject:
    """One object: what it is, and the box of its drawn outline (x1, y1, x2, y2 px, x2 and y2 exclusive)."""

    shape: str
    colour: str
    size: str
    box: tuple[float, float, float, float]
    tilt: float
    """Degrees; 0 for circle and ring."""

    @property
    def centre(self) -> tuple[float, float]:
        """x, y in px of the middle of the box."""
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2

    def outline(self) -> list[tuple[float, float]]:
        """Corners of the drawn polygon in px; empty for circle and ring, which fill their box."""
        corners = unit_outline(self.shape, self.tilt)
        x1, y1, x2, y2 = self.box
        return [(x1 + x * (x2 - x1), y1 + y * (y2 - y1)) for x, y in corners]


@dataclass(frozen=True)
class Scene:
    """The objects of one scene, in the order in which they are drawn."""

    seed: int
    index: int
    objects: tuple[SceneObject, ...]

    @property
    def image_id(self) -> str:
        """The picture's name below <folder>/images."""
        return f"{self.index:05d}.jpg"


def scene_random(seed: int, index: int, purpose: str) -> random.Random:
    """Random numbers of one scene for one purpose: more captions would not move the boxes."""
    return random.Random(f"vsalign scenes/{seed}/{index}/{purpose}")


def make_scene(seed: int, index: int) -> Scene:
    """Scene `index` of a seed; the same on every machine, whatever other scenes are made."""
    rng = scene_random(seed, index, "layout")
    while True:  # a crowded draw is drawn again; six large objects fit rarely, all others nearly always
        kinds = _kinds(rng, rng.randint(4, 6))
        objects = _place(rng, kinds)
        if objects is not None:
            return Scene(seed, index, tuple(objects))


def _kinds(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """`count` different (shape, colour) pairs, the first two with one of them in common."""
    shape, colour = rng.choice(SHAPES), rng.choice(list(COLOURS))
    kinds = [(shape, colour)]
    if rng.random() < 0.5:
        kinds.append((shape, rng.choice([other for other in COLOURS if other != colour])))
    else:
        kinds.append((rng.choice([other for other in SHAPES if other != shape]), colour))
    rest = [(shape, colour) for shape in SHAPES for colour in COLOURS if (shape, colour) not in kinds]
    kinds += rng.sample(rest, count - 2)
    rng.shuffle(kinds)
    return kinds


def _place(rng: random.Random, kinds: list[tuple[str, str]], tries: int = 60) -> list[SceneObject] | None:
    """Objects at random places with little overlap; None where one found no place in `tries` draws."""
    objects: list[SceneObject] = []
    for shape, colour in kinds:
        size = rng.choice(list(SIZES))
        tilt = 0.0 if shape in ("circle", "ring") else rng.uniform(-MAX_TILT, MAX_TILT)
        side = rng.randint(*SIZES[size])
        width, height = (max(1, round(side * extent)) for extent in _extents(shape, tilt))
        for _ in range(tries):
            x, y = (rng.randint(MARGIN, CANVAS - MARGIN - length) for length in (width, height))
            box = (float(x), float(y), float(x + width), float(y + height))
            if not objects or box_iou([box], [other.box for other in objects]).max() < MAX_IOU:
                objects.append(SceneObject(shape, colour, size, box, tilt))
                break
        else:
            return None
    return objects


def _raw_outline(shape: str, tilt: float) -> np.ndarray:
    """Corners (n, 2) of a shape around the origin, tilted by degrees."""
    corners: list[tuple[float, float]]
    if shape == "square":
        corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    elif shape == "triangle":
        corners = [(0, -1), (1, 0.8), (-1, 0.8)]
    elif shape == "cross":
        arm = 0.34
        quarter: list[tuple[float, float]] = [(-arm, -1), (arm, -1), (arm, -arm)]
        corners = [_turn(point, 90 * step) for step in range(4) for point in quarter]
    elif shape == "star":
        corners = [_turn((0, -1 if step % 2 == 0 else -0.42), 36 * step) for step in range(10)]
    else:
        return np.zeros((0, 2))
    return np.array([_turn(point, tilt) for point in corners])


def _turn(point: tuple[float, float], degrees: float) -> tuple[float, float]:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return point[0] * cosine - point[1] * sine, point[0] * sine + point[1] * cosine


def unit_outline(shape: str, tilt: float) -> list[tuple[float, float]]:
    """Corners of a tilted shape, stretched to fill the box 0, 0, 1, 1; empty for circle and ring."""
    corners = _raw_outline(shape, tilt)
    if not len(corners):
        return []
    low, high = corners.min(axis=0), corners.max(axis=0)
    return [(float(x), float(y)) for x, y in (corners - low) / (high - low)]


def _extents(shape: str, tilt: float) -> tuple[float, float]:
    """Width and height of a tilted shape, the longer one being 1."""
    corners = _raw_outline(shape, tilt)
    if not len(corners):
        return 1.0, 1.0
    width, height = corners.max(axis=0) - corners.min(axis=0)
    longer = max(width, height)
    return float(width / longer), float(height / longer)
