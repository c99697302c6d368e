"""One picture of the gallery as HTML: the picture, its boxes, what was said about it; all of it escaped."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vsalign.boxes import box_iou
from vsalign.pictures.drawing import Box, covers_picture, visible_boxes
from vsalign.pictures.originals import locate
from vsalign.pictures.palette import PALETTE
from vsalign.pictures.sentences import HumanSentences, Piece

BOXES_SHOWN = len(PALETTE)
"""Boxes drawn before anything is pointed at: one for each colour, so that no two look alike."""

SAME_BOX_IOU = 0.98
"""Boxes of two tables that overlap this much are one region, with one number and one colour."""

NO_CAPTION = "<em>no caption</em>"

SEARCH_CHARS = 2000
"""What the search over all pages knows of a picture; longer texts are cut there (never on the page)."""


_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that HTML parsers drop or change: all controls but tab and newline."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture as the gallery shows it: a file and its upright size in px, or the reason for none."""

    href: str = ""
    """Relative to the folder of the pages; "" where the picture could not be read."""
    width: int = 0
    height: int = 0
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Region:
    """A region as numbered on the page."""

    number: int
    colour: int
    """1 to 8, the palette; 0 is grey, for the whole image."""
    box: Box | None
    """xyxy px of the described picture; None where the table's box cannot be drawn."""
    shown: bool
    """Drawn before anything is pointed at."""
    caption: str | None = None
    """What the model says about it; None for a region that only a human phrase names."""


def number_regions(row: dict[str, Any], human: HumanSentences) -> tuple[list[Region], dict[int, int]]:
    """The regions of a picture, numbered from 1: the described ones, then those that only human phrases name.

    The dictionary gives the number of each region that the phrases name (a row of `human.boxes`).
    """
    width, height = row["width"], row["height"]
    described = np.asarray([region["box"] for region in row["regions"]], np.float32).reshape(-1, 4)
    named = sorted({region for pieces in human.sentences for _, region in pieces if region is not None})
    others = human.boxes[named].astype(np.float32)
    if human.width and human.height:  # the regions table may have been made from a copy of another size
        others = others * np.asarray([width / human.width, height / human.height] * 2, np.float32)
    overlap = box_iou(others, described) if len(others) and len(described) else np.zeros((len(others), 0))
    numbers: dict[int, int] = {}
    extra = []
    for position, region in enumerate(named):
        if overlap.shape[1] and overlap[position].max() >= SAME_BOX_IOU:
            numbers[region] = int(overlap[position].argmax()) + 1
        else:
            extra.append(others[position])
            numbers[region] = len(described) + len(extra)
    boxes = np.concatenate([described, np.asarray(extra, np.float32).reshape(-1, 4)])
    regions: list[Region] = []
    coloured = 0
    for number, box in enumerate(visible_boxes(boxes, width, height), start=1):
        whole = box is not None and covers_picture(box, width, height)
        shown = box is not None and not whole and coloured < BOXES_SHOWN
        paint = 0 if whole or box is None else coloured % len(PALETTE) + 1
        coloured += paint > 0
        caption = row["regions"][number - 1]["caption"] or "" if number <= len(described) else None
        regions.append(Region(number, paint, box, shown, caption))
    return regions, numbers


def card(position: int, row: dict[str, Any], thumbnail: Thumbnail, human: HumanSentences, base: str) -> str:
    """A picture's card. position: its number in the gallery; base: the way from the page to its files."""
    regions, numbers = number_regions(row, human)
    parts = [
        f'<article class="card" id="p{position}" tabindex="0" aria-labelledby="c{position}">',
        f'<div class="inner">{_picture(row, thumbnail, regions, base)}<div class="text">',
        f'<h2 class="caption" id="c{position}" dir="auto">{_text(row["caption"]) or NO_CAPTION}</h2>',
        _region_list([region for region in regions if region.caption is not None]),
        _human_list(human.sentences, numbers, regions),
        _origin(row, thumbnail),
        "</div></div></article>",
    ]
    return "".join(parts)


def haystack(row: dict[str, Any], human: HumanSentences) -> str:
    """All that the search over every page looks at, on one line."""
    texts = [row["caption"], *(region["caption"] for region in row["regions"])]
    texts += ["".join(text for text, _ in pieces) for pieces in human.sentences]
    return " ".join(" ".join([*filter(None, texts), row["image_id"]]).split())[:SEARCH_CHARS]


def local_link(row: dict[str, Any]) -> str:
    """A percent-encoded file:// link to a picture on this machine; "" for anything else, which is plain text."""
    path = locate(row, None).local_path
    return Path(path).as_uri() if path else ""


def _text(value: str) -> str:
    """Escaped for text and for quoted attributes; characters that HTML forbids become U+FFFD."""
    return html.escape(_FORBIDDEN.sub("\ufffd", value), quote=True)


def _picture(row: dict[str, Any], thumbnail: Thumbnail, regions: Sequence[Region], base: str) -> str:
    width, height = max(1, row["width"]), max(1, row["height"])
    frame = f'<div class="picture"><div class="frame" style="--ar:{width / height:.6g}">'
    if thumbnail.reason:
        return (
            f'{frame}<div class="missing"><strong>This picture could not be read</strong>'
            f'<code class="reason">{_text(thumbnail.reason)}</code>'
            f'<span class="message" dir="auto">{_text(thumbnail.message)}</span></div></div></div>'
        )
    image = (
        f'<img src="{base}{_text(thumbnail.href)}" alt="{_text(row["caption"])}"'
        f' width="{width}" height="{height}" loading="lazy" decoding="async">'
    )
    drawn = [(region, region.box) for region in regions if region.box is not None]
    # The smallest box lies on top, so that each one can be pointed at.
    drawn.sort(key=lambda pair: -(pair[1][2] - pair[1][0]) * (pair[1][3] - pair[1][1]))
    boxes = "".join(_box(region, box, width, height) for region, box in drawn)
    return f'{frame}{image}<div class="boxes" aria-hidden="true">{boxes}</div></div></div>'


def _box(region: Region, box: Box, width: int, height: int) -> str:
    left, top = 100 * box[0] / width, 100 * box[1] / height
    wide, high = 100 * (box[2] - box[0]) / width, 100 * (box[3] - box[1]) / height
    quiet = "" if region.shown else " quiet"
    return (
        f'<i class="box c{region.colour}{quiet}" data-n="{region.number}"'
        f' style="left:{left:.3f}%;top:{top:.3f}%;width:{wide:.3f}%;height:{high:.3f}%"></i>'
    )


def _region_list(regions: Sequence[Region]) -> str:
    if not regions:
        return ""
    rows = [
        f'<li><button type="button" class="region c{region.colour}" data-n="{region.number}">'
        f'<b>{region.number}</b><span dir="auto">{_text(region.caption or "") or NO_CAPTION}'
        f"{'' if region.box else ' <em>(no box)</em>'}</span></button></li>"
        for region in regions
    ]
    first, rest = "".join(rows[:BOXES_SHOWN]), "".join(rows[BOXES_SHOWN:])
    count = len(rows) - BOXES_SHOWN
    more = f"<details><summary>{count} more regions</summary><ul>{rest}</ul></details>" if rest else ""
    return f'<div class="regions"><h3>Regions</h3><ul>{first}</ul>{more}</div>'


def _human_list(sentences: Sequence[Sequence[Piece]], numbers: dict[int, int], regions: Sequence[Region]) -> str:
    if not sentences:
        return ""
    lines = []
    for pieces in sentences:
        line = ""
        for text, named in pieces:
            region = None if named is None else regions[numbers[named] - 1]
            if region is None:
                line += _text(text)
            else:
                mark = f'class="phrase c{region.colour}" tabindex="0" data-n="{region.number}"'
                line += f"<span {mark}>{_text(text)}</span>"
        lines.append(f'<li dir="auto">{line}</li>')
    return f'<div class="human"><h3>Written by people</h3><ul>{"".join(lines)}</ul></div>'


def _origin(row: dict[str, Any], thumbnail: Thumbnail) -> str:
    name, link = _text(row["image_id"]), local_link(row)
    # bdi: a name that is set from right to left, or pretends to be, leaves what follows alone.
    opening, closing = (f'<a href="{_text(link)}"', "</a>") if link else ("<span", "</span>")
    where = f'{opening} class="name"><bdi>{name}</bdi>{closing}'
    facts = [f"{row['width']} × {row['height']} px"]
    if math.isfinite(row["log_prob"]):
        figure = f"{row['log_prob']:.2f}".replace("-", "−")
        facts.append(f'<abbr title="log-probability of the caption">log p</abbr> {figure}')
    if not row["finished"]:
        facts.append('<span class="flag">caption cut at the length limit</span>')
    if thumbnail.href and (thumbnail.width, thumbnail.height) != (row["width"], row["height"]):
        facts.append(
            f'<span class="flag">the picture is {thumbnail.width} × {thumbnail.height} px now: '
            "the boxes were made on another</span>"
        )
    return f'<p class="origin">{where}<span class="facts">{" · ".join(facts)}</span></p>'
