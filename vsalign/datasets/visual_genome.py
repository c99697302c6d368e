"""Visual Genome's region_descriptions.json: a box and a phrase for each of about 50 regions a picture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vsalign.boxes import clip, valid
from vsalign.datasets.files import first_bytes, json_array
from vsalign.datasets.records import Reading, caption_text
from vsalign.errors import ConfigurationError, InputError, Reason

BOX_FORMATS = ("xywh", "xyxy")

FARTHEST = 10**6
"""px; a coordinate beyond it is taken for a broken number."""

Sizes = Mapping[str, tuple[int, int]] | Callable[[str], tuple[int, int] | None]
"""image_name -> width, height in px; None where not known."""


@dataclass(frozen=True, eq=False)
class RegionDescription:
    """A region of a picture and the phrase a person wrote for it."""

    image_name: str
    region_id: str
    text: str
    box: np.ndarray
    """(4,) float32, x1, y1, x2, y2 in px of the upright picture."""


def read_regions(
    path: str,
    image_sizes: Sizes | None = None,
    box_format: str = "xywh",
    image_name: Callable[[Any], str | None] = lambda number: f"{number}.jpg",
) -> Reading[RegionDescription]:
    """Regions of region_descriptions.json, read picture by picture (the file has 700 MB).

    box_format: what x, y and the two other numbers are: "xywh" (published: x, y, width, height) or "xyxy" (x,
    y, x2, y2 under the same keys). image_name: the picture's name from its number; None: nobody asked for it.
    image_sizes: boxes are clipped to the picture, and refused where nothing is left; without sizes only left
    and top edges are clipped.
    A box that is not finite or has no area is refused by region id (InputError BAD_BOXES or NOT_FINITE).
    Counts: records, errors, images, boxes_clipped, regions_of_other_images. Raises MissingInputError, and
    ConfigurationError on another file.
    """
    if box_format not in BOX_FORMATS:
        raise ConfigurationError(f"box_format {box_format!r} is unknown; choose one of {', '.join(BOX_FORMATS)}.")
    first_bytes(path)
    size_of = image_sizes.get if isinstance(image_sizes, Mapping) else image_sizes
    counts: Counter[str] = Counter()
    return Reading("visual_genome", _read(path, size_of, box_format, image_name, counts), counts)


def _read(
    path: str,
    size_of: Callable[[str], tuple[int, int] | None] | None,
    box_format: str,
    image_name: Callable[[Any], str | None],
    counts: Counter[str],
) -> Iterator[RegionDescription | InputError]:
    for position, image in enumerate(json_array(path)):
        regions = image.get("regions") if isinstance(image, dict) else None
        number = image.get("id", image.get("image_id")) if isinstance(image, dict) else None
        if not isinstance(regions, list):
            message = f"element {position} has no list of regions."
            yield InputError(Reason.BAD_LINE, message, f"{path}:[{position}]")
            continue
        counts["images"] += 1
        for index, region in enumerate(regions):
            place = f"image {number}, regions[{index}]"
            if not isinstance(region, dict):
                yield InputError(Reason.BAD_LINE, f"{place} is no region.", f"{path}:{place}")
                continue
            owner = region.get("image_id", number)
            if owner is None:
                yield InputError(Reason.MISSING_IMAGE, f"{place} names no picture.", f"{path}:{place}")
                continue
            name = image_name(owner)
            if name is None:
                counts["regions_of_other_images"] += 1
                continue
            yield _region(region, name, size_of(name) if size_of else None, box_format, path, counts)


def _region(
    region: dict[str, Any],
    name: str,
    size: tuple[int, int] | None,
    box_format: str,
    path: str,
    counts: Counter[str],
) -> RegionDescription | InputError:
    region_id = str(region.get("region_id", "without id"))
    place = f"region {region_id} of {name}"
    uri = f"{path}:{place}"
    text = caption_text(region.get("phrase"), place, uri)
    if isinstance(text, InputError):
        return text
    numbers = [region.get(key) for key in ("x", "y", "width", "height")]
    corners = corners_of(numbers, box_format, place, uri)
    if isinstance(corners, InputError):
        return corners
    inside = inside_picture(corners, size, place, uri, counts)
    return inside if isinstance(inside, InputError) else RegionDescription(name, region_id, text, inside)


def corners_of(numbers: Any, box_format: str, place: str, uri: str) -> tuple[float, float, float, float] | InputError:
    """The corners x1, y1, x2, y2 px of a box of BOX_FORMATS, or the error that says why there are none."""
    four = isinstance(numbers, list) and len(numbers) == 4
    if not four or not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        return InputError(Reason.BAD_BOXES, f"{place}: x, y, width, height are {numbers}, not numbers.", uri)
    # float32 holds up to 3e38, a JSON integer has any length; no picture has a side of a million px.
    if not all(abs(number) <= FARTHEST for number in numbers):
        message = f"{place}: x, y, width, height hold a number that is not finite or beyond {FARTHEST} px."
        return InputError(Reason.NOT_FINITE, message, uri)
    x, y, third, fourth = map(float, numbers)
    return (x, y, x + third, y + fourth) if box_format == "xywh" else (x, y, third, fourth)


def inside_picture(
    corners: tuple[float, float, float, float], size: tuple[int, int] | None, place: str, uri: str, counts: Counter[str]
) -> np.ndarray | InputError:
    """The box (4,) float32 cut to a picture of size width, height px; the error where it has no area there.

    One that reached outside is counted in boxes_clipped.
    """
    box = np.array(corners, np.float32)
    width, height = size if size else (math.inf, math.inf)
    inside = clip(box, width, height)
    if not valid(box)[0] or not valid(inside)[0]:
        return InputError(
            Reason.BAD_BOXES,
            f"{place}: the box {corners} (x1, y1, x2, y2 px) has no area"
            + (f" inside the picture of {width} x {height} px." if size else "."),
            uri,
        )
    counts["boxes_clipped"] += int((inside[0] != box).any())
    return inside[0].astype(np.float32)
