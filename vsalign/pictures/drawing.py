"""Phrases and their boxes drawn on a picture: the figure that a person looks at to judge an alignment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from vsalign.boxes import as_boxes, clip, valid
from vsalign.pictures.palette import NEUTRAL, RGB, colour, ink

Box = tuple[float, float, float, float]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

Phrase = tuple[str, int | None, int]
"""A phrase's text; its region (a row of the boxes), or None for words of no region; its colour index."""

MAX_PHRASE_CHARS = 200
"""Longer phrases are cut with an ellipsis: a label is to be read at a glance."""


def visible_boxes(boxes: ArrayLike, width: int, height: int) -> list[Box | None]:
    """The part of each box (n, 4) inside a picture of width x height px; None where there is none."""
    finite = valid(boxes)
    inside = clip(np.where(finite[:, None], as_boxes(boxes), 0), width, height)
    kept = finite & valid(inside)
    pairs = zip(inside.tolist(), kept.tolist(), strict=True)
    return [cast(Box, tuple(row)) if keep else None for row, keep in pairs]


def covers_picture(box: Box, width: int, height: int) -> bool:
    """Whether a visible box is the whole picture of width x height px (to half a per cent of its area)."""
    return (box[2] - box[0]) * (box[3] - box[1]) >= 0.995 * width * height


def draw_boxes(image: np.ndarray, boxes: ArrayLike) -> Image.Image:
    """The picture, (H, W, 3) uint8, with the outline of every visible box (R, 4) xyxy px, each in its colour."""
    height, width = image.shape[:2]
    canvas = Image.fromarray(image)
    line = _line_width(width, height)
    for index, box in enumerate(visible_boxes(boxes, width, height)):
        if box is not None:
            _outline(canvas, box, _paint(box, index, width, height), line)
    return canvas


def draw_alignment(image: np.ndarray, boxes: ArrayLike, phrases: Sequence[Phrase]) -> Image.Image:
    """The picture with each phrase's box outlined in its colour, and the phrases, coloured, below it.

    image: (H, W, 3) uint8 sRGB, upright; boxes: (R, 4) xyxy px of that picture; phrases: in sentence order.
    The result is W px wide and higher than H by the strip of text. A box of the whole picture is grey; a box
    that is not finite, or outside the picture, is not drawn. Raises ValueError where a phrase names no box.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image is {image.dtype} {image.shape}: (H, W, 3) uint8 is wanted")
    height, width = image.shape[:2]
    visible = visible_boxes(boxes, width, height)
    for text, region, _ in phrases:
        if region is not None and not 0 <= region < len(visible):
            raise ValueError(f"phrase {text!r} names region {region}, but there are {len(visible)} boxes")
    labels: list[tuple[str, RGB | None]] = []
    canvas = Image.fromarray(image)
    line = _line_width(width, height)
    for text, region, index in phrases:
        box = None if region is None else visible[region]
        paint = None if region is None else _paint(box, index, width, height)
        labels.append((text, paint))
        if box is not None and paint is not None:
            _outline(canvas, box, paint, line)
    font = ImageFont.load_default(size=max(11, min(28, round(max(width, height) / 32))))
    strip = _text_strip(labels, width, font)
    result = Image.new("RGB", (width, height + strip.height), "white")
    result.paste(canvas, (0, 0))
    result.paste(strip, (0, height))
    return result


CELL = 30
"""px of a matrix's cell."""
DARKEST: RGB = (0x08, 0x30, 0x6B)


def draw_matrix(values: np.ndarray, words: Sequence[str], chosen: Sequence[tuple[int, int]]) -> Image.Image:
    """values (T, R): a row a word, a column a region, the greater the darker, over the range of all that are finite.

    chosen: for each word the region that it is on and a colour index, by which the cell is framed.
    """
    font = ImageFont.load_default(size=14)
    names = [_fit_text(word, font, 8 * CELL) for word in words]
    left = math.ceil(max(font.getlength(name) for name in names)) + 12
    sheet = Image.new("RGB", (left + CELL * values.shape[1] + 4, CELL * (len(words) + 1) + 4), "white")
    draw = ImageDraw.Draw(sheet)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    for column in range(values.shape[1]):
        centre = (left + CELL * column + CELL // 2, CELL // 2)
        draw.text(centre, str(column), font=font, fill="black", anchor="mm")
    for row, (name, (region, index)) in enumerate(zip(names, chosen, strict=True), 1):
        draw.text((left - 6, CELL * row + CELL // 2), name, font=font, fill="black", anchor="rm")
        for column, value in enumerate(values[row - 1].tolist()):
            share = (value - low) / (high - low) if math.isfinite(value) and high > low else 0.0
            paint = tuple(round(255 + share * (dark - 255)) for dark in DARKEST)
            x, y = left + CELL * column, CELL * row
            draw.rectangle((x + 1, y + 1, x + CELL - 2, y + CELL - 2), fill=paint)
            if column == region:
                draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), outline=colour(index), width=4)
    return sheet


def _line_width(width: int, height: int) -> int:
    return max(1, min(6, round(max(width, height) / 160)))


def _paint(box: Box | None, index: int, width: int, height: int) -> RGB:
    return NEUTRAL if box is not None and covers_picture(box, width, height) else colour(index)


def _outline(canvas: Image.Image, box: Box, paint: RGB, line: int) -> None:
    """Outline a box just inside its edges: pixel column x covers x to x + 1, so the last one is x2 - 1."""
    draw = ImageDraw.Draw(canvas)
    x1, y1 = math.floor(box[0]), math.floor(box[1])
    x2, y2 = max(x1, math.ceil(box[2]) - 1), max(y1, math.ceil(box[3]) - 1)
    if min(x2 - x1, y2 - y1) > 4 * line:
        # A dark line inside the coloured one keeps light colours visible on light pictures.
        draw.rectangle((x1 + line, y1 + line, x2 - line, y2 - line), outline=(0, 0, 0), width=1)
    draw.rectangle((x1, y1, x2, y2), outline=paint, width=line)


def _text_strip(labels: Sequence[tuple[str, RGB | None]], width: int, font: Font) -> Image.Image:
    """Texts on their colours (None: none), wrapped to `width` px; as high as needed."""
    pad = 4
    texts = [_fit_text(text, font, width - 4 * pad) for text, _ in labels]
    line_height = math.ceil(font.getbbox("Ågjy|")[3]) + 2 * pad
    placed: list[tuple[int, int, int]] = []
    x = y = pad
    for text in texts:
        text_width = math.ceil(font.getlength(text)) + 2 * pad
        if x > pad and x + text_width + pad > width:
            x, y = pad, y + line_height + pad
        placed.append((x, y, text_width))
        x += text_width + pad
    strip = Image.new("RGB", (width, y + line_height + pad if labels else 0), "white")
    draw = ImageDraw.Draw(strip)
    for text, (x, y, text_width), (_, paint) in zip(texts, placed, labels, strict=True):
        if paint is not None:
            draw.rectangle((x, y, x + text_width - 1, y + line_height - 1), fill=paint)
        draw.text((x + pad, y + pad), text, font=font, fill=ink(paint or (255, 255, 255)))
    return strip


def _fit_text(text: str, font: Font, width: int) -> str:
    """The text on one line, cut with an ellipsis to at most `width` px (one character is always kept)."""
    line = " ".join(text.split())
    cut = line[:MAX_PHRASE_CHARS]
    while len(cut) > 1 and font.getlength(cut if cut == line else cut + "…") > width:
        cut = cut[:-1]
    return cut if cut == line else cut.rstrip() + "…"
