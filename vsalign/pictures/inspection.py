"""`vsalign inspect regions DIR`: what a regions table holds, in figures and as a sheet of pictures with their boxes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vsalign.boxes import area, as_boxes, valid
from vsalign.errors import ConfigurationError, InputError
from vsalign.options import parse, with_names
from vsalign.pictures.drawing import draw_boxes
from vsalign.pictures.files import require_format, save_picture
from vsalign.pictures.originals import OriginalReader, locate, pixels_of
from vsalign.pictures.thumbnails import smaller
from vsalign.storage import TableReader
from vsalign.tables import feature_arrays

GAP = 8
"""Pixels between the sheet's pictures."""
EDGES = (0.01, 0.1, 0.5)
"""Shares of the picture's area that tell small boxes from large ones."""


@dataclass(frozen=True)
class InspectOptions:
    """What `vsalign inspect regions` is asked for."""

    table: str
    """Folder or URL of the regions table; the option's name may be left out."""
    sheet: str = ""
    """File (.jpg, .png, .webp) for a contact sheet of pictures with their boxes; empty: none."""
    pictures: int = 24
    """Pictures on the sheet, spread evenly over the table."""
    cell: int = 320
    """Longer side of a picture on the sheet in px."""
    images: str | None = None
    """Where the input root is now, if no longer where the table's uri column says."""
    features: int = 2000
    """Images whose features are looked at, from the table's beginning; 0: none."""

    def __post_init__(self) -> None:
        if not 1 <= self.pictures <= 1000 or not 32 <= self.cell <= 4096 or self.features < 0:
            raise ConfigurationError(
                f"--pictures {self.pictures}, --cell {self.cell}, --features {self.features}: 1 to 1000, 32 to 4096, "
                "at least 0"
            )
        if self.sheet:
            require_format(self.sheet, "--sheet")


@dataclass
class RegionFigures:
    """What is counted of a regions table's rows."""

    images: int = 0
    regions: Counter[int] = field(default_factory=Counter)
    """Images by their number of regions."""
    sides: list[int] = field(default_factory=lambda: [2**31, 0])
    """The shortest and the longest side of a picture, in px."""
    invalid: int = 0
    """Boxes that are not finite or have no area."""
    by_area: list[int] = field(default_factory=lambda: [0] * (len(EDGES) + 1))
    """Boxes by their share of the picture's area: below each of EDGES, and above."""
    scores: list[float] = field(default_factory=lambda: [math.inf, -math.inf])

    def add(self, row: dict[str, Any]) -> None:
        """Count a row: width, height, boxes, scores."""
        boxes = as_boxes(row["boxes"])
        self.images += 1
        self.regions[len(boxes)] += 1
        self.sides = [min(self.sides[0], row["width"], row["height"]), max(self.sides[1], row["width"], row["height"])]
        sound = valid(boxes)
        self.invalid += int((~sound).sum())
        shares = area(boxes[sound]) / (row["width"] * row["height"])
        for edge, count in Counter(np.searchsorted(EDGES, shares, side="right").tolist()).items():
            self.by_area[edge] += count
        if row["scores"]:
            self.scores = [min(self.scores[0], *row["scores"]), max(self.scores[1], *row["scores"])]

    def lines(self) -> Iterator[tuple[str, str]]:
        """Name and value of each figure."""
        total = sum(count * images for count, images in self.regions.items())
        if not total:
            return
        mean = total / self.images
        yield "regions an image", f"{min(self.regions)} to {max(self.regions)}, mean {mean:.1f}"
        yield "picture sides", f"{self.sides[0]:,} to {self.sides[1]:,} px"
        names = [f"below {100 * edge:g} %" for edge in EDGES] + [f"{100 * EDGES[-1]:g} % and more"]
        shown = (f"{name}: {100 * count / total:.1f} %" for name, count in zip(names, self.by_area, strict=True))
        yield "boxes by area", ", ".join(shown)
        yield "invalid boxes", f"{self.invalid:,}"
        yield "scores", f"{self.scores[0]:.3f} to {self.scores[1]:.3f}"


def region_figures(table: TableReader) -> RegionFigures:
    """The figures of all rows; one pass over the columns that are small."""
    figures = RegionFigures()
    for batch in table.batches(["width", "height", "boxes", "scores"]):
        for row in batch.to_pylist():
            figures.add(row)
    return figures


def feature_lines(table: TableReader, images: int) -> Iterator[tuple[str, str]]:
    """Of the features of the first so many images: how many are zero or not finite, and their length."""
    looked, values, zeros, wrong, lengths = 0, 0, 0, 0, []
    for batch in table.batches(["features"]):
        for features in feature_arrays(batch.column(0))[: images - looked]:
            wide = features.astype(np.float32)
            values, zeros = values + wide.size, zeros + int((wide == 0).sum())
            wrong += int((~np.isfinite(wide)).sum())
            lengths.append(np.linalg.norm(wide, axis=1))
            looked += 1
        if looked >= images:
            break
    if values:
        length = np.concatenate(lengths)
        spread = f"length {length.mean():.2f} ± {length.std():.2f}"
        yield f"features of {looked:,} images", f"{100 * zeros / values:.1f} % zeros, {wrong:,} not finite, {spread}"


def contact_sheet(table: TableReader, options: InspectOptions) -> Image.Image:
    """`options.pictures` pictures of the table, evenly spread, with their boxes; grey where one is unreadable."""
    rows = list(_spread(table, options.pictures))
    cells = [_cell(row, options) for row in rows]
    columns = math.ceil(math.sqrt(len(cells)))
    lines = math.ceil(len(cells) / columns)
    step = options.cell + GAP
    sheet = Image.new("RGB", (columns * step + GAP, lines * step + GAP), "white")
    for number, cell in enumerate(cells):
        left, top = number % columns * step + GAP, number // columns * step + GAP
        sheet.paste(cell, (left + (options.cell - cell.width) // 2, top + (options.cell - cell.height) // 2))
    return sheet


def _spread(table: TableReader, count: int) -> Iterator[dict[str, Any]]:
    wanted = set(np.linspace(0, table.rows - 1, min(count, table.rows)).round().astype(int).tolist())
    position = 0
    for shard, part in enumerate(table.shards):
        inside = [place for place in sorted(wanted) if position <= place < position + part["rows"]]
        if inside:
            start = position
            for batch in table.batches(["image_id", "uri", "width", "height", "boxes"], [shard]):
                for place in inside:
                    if start <= place < start + len(batch):
                        yield batch.slice(place - start, 1).to_pylist()[0]
                start += len(batch)
        position += part["rows"]


def _cell(row: dict[str, Any], options: InspectOptions) -> Image.Image:
    try:
        (read,) = OriginalReader().read([locate(row, options.images)])
        small = smaller(pixels_of(read), options.cell)
    except InputError as error:
        blank = Image.new("RGB", (options.cell, options.cell), (225, 225, 225))
        text = f"{error.reason}\n{PurePosixPath(str(row['image_id'])).name}"
        ImageDraw.Draw(blank).text((GAP, GAP), text, fill="black", font=ImageFont.load_default(size=14))
        return blank
    stretch = [small.width / row["width"], small.height / row["height"]] * 2
    return draw_boxes(np.asarray(small), as_boxes(row["boxes"]) * np.asarray(stretch, np.float32))


def main(argv: Sequence[str]) -> int:
    """The command `vsalign inspect regions`."""
    options = parse(
        InspectOptions,
        with_names(argv, "--table"),
        prog="vsalign inspect regions",
        description="Say what a regions table holds, and draw its boxes on some of its pictures.",
    )
    table = TableReader(options.table, "regions")
    sheet = contact_sheet(table, options) if options.sheet and table.rows else None
    lines = list(manifest_lines(table))
    lines += region_figures(table).lines()
    lines += feature_lines(table, options.features) if options.features else ()
    if sheet is not None:
        save_picture(sheet, options.sheet)
        lines.append(("sheet", options.sheet))
    width = max(len(name) for name, _ in lines)
    print("\n".join([f"regions table {table.url}", *(f"  {name:<{width}}  {value}" for name, value in lines)]))
    return 0


def manifest_lines(table: TableReader) -> Iterator[tuple[str, str]]:
    """Name and value of what a table's manifest says."""
    manifest = table.manifest
    yield "images", f"{table.rows:,} of {manifest['inputs']:,} inputs, in {len(table.shards):,} shards"
    errors = sum(manifest["errors"].values())
    yield "errors", f"{errors:,}"
    for reason, count in sorted(manifest["errors"].items(), key=lambda item: (-item[1], item[0])):
        yield f"  {reason}", f"{count:,}"
    for reason, count in sorted(manifest["archive_errors"].items()):
        yield f"  archives: {reason}", f"{count:,}"
    for name, count in sorted(manifest["counts"].items()):
        yield name.replace("_", " "), f"{count:,}"
    for name, value in table.properties.get("extractor", {}).items():
        yield f"extractor {name}".replace("_", " "), str(value)
