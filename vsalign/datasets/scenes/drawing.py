"""A scene as a picture: smooth outlines on a soft, plain ground."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw

from vsalign.datasets.scenes.layout import CANVAS, COLOURS, Scene, SceneObject, scene_random

SUPERSAMPLE = 4
RING_HOLE = 0.56  # inner radius by outer radius: the hole of a small ring is still 27 px wide
JPEG_QUALITY = 92

GROUNDS = (
    (176, 168, 150),
    (158, 170, 182),
    (165, 178, 160),
    (182, 164, 166),
    (168, 168, 172),
    (186, 176, 158),
)
"""sRGB; greyish and of middle lightness, so that black and white both stand out and no object has their
colour.
"""


def draw(scene: Scene) -> Image.Image:
    """The scene as an RGB picture of 320 x 320 px."""
    rng = scene_random(scene.seed, scene.index, "drawing")
    picture = _ground(rng.choice(GROUNDS), rng.getrandbits(64))
    for item in scene.objects:
        jitter = [rng.randint(-10, 10) for _ in range(3)]
        colour = tuple(min(255, max(0, part + shift)) for part, shift in zip(COLOURS[item.colour], jitter, strict=True))
        left, top, right, bottom = map(int, item.box)
        picture.paste(colour, (left, top, right, bottom), _mask(item))
    return picture


def jpeg(picture: Image.Image) -> bytes:
    """The picture as JPEG, colours at full resolution."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _ground(colour: tuple[int, int, int], seed: int) -> Image.Image:
    """A plain ground with a soft, cloudy texture of +-12 grey levels."""
    cells = np.random.default_rng(seed).normal(0.0, 6.0, (12, 12, 1)) + np.asarray(colour, np.float64)
    small = Image.fromarray(np.clip(cells, 0, 255).astype(np.uint8), "RGB")
    return small.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)


def _mask(item: SceneObject) -> Image.Image:
    """How much of each pixel of the object's box it covers (0 to 255)."""
    left, top, right, bottom = item.box
    width, height = int(right - left), int(bottom - top)
    large = Image.new("L", (width * SUPERSAMPLE, height * SUPERSAMPLE), 0)
    pen = ImageDraw.Draw(large)
    # Pillow's right and lower edges are inclusive.
    end_x, end_y = large.width - 1, large.height - 1
    if item.shape in ("circle", "ring"):
        pen.ellipse((0, 0, end_x, end_y), fill=255)
        if item.shape == "ring":
            gap_x, gap_y = end_x * (1 - RING_HOLE) / 2, end_y * (1 - RING_HOLE) / 2
            pen.ellipse((gap_x, gap_y, end_x - gap_x, end_y - gap_y), fill=0)
    else:
        corners = [(x - left, y - top) for x, y in item.outline()]
        pen.polygon([(x / width * end_x, y / height * end_y) for x, y in corners], fill=255)
    return large.reduce(SUPERSAMPLE)
