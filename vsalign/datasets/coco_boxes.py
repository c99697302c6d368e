"""COCO instances JSON (instances_train2017.json, ...): boxes of categories, each of them one phrase of its picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from vsalign.datasets.entities import SAME_SHAPE
from vsalign.datasets.files import load_json
from vsalign.datasets.prepare import ImageNames
from vsalign.datasets.records import PhraseTruth, Reading
from vsalign.datasets.visual_genome import corners_of, inside_picture
from vsalign.errors import ConfigurationError, InputError, Reason

UNNAMED = "object"
"""Kind and phrase of a box without category."""


@dataclass(frozen=True)
class Picture:
    """A picture of the file that somebody asked for."""

    image_id: str
    size: tuple[int, int]
    """width, height px of the upright picture."""
    scale: tuple[float, float]
    """From the file's px to the picture's, along x and y."""


def read_instances(
    path: str, names: ImageNames, size_of: Callable[[str], tuple[int, int]], rescale: bool = False
) -> Reading[PhraseTruth]:
    """Boxes of the named pictures in file order, as phrases: text is the category's name, kind its supercategory.

    A picture is matched by its `file_name` as those of captions are; boxes are x, y, width, height px in the file. Two
    pictures of the file that mean the same one, and a size that is not the picture's, are an InputError each; with
    rescale boxes go with the picture to its own size, and only exchanged sides are refused.

    Counts: images, images_of_others (that no one asked for), images_without_box, boxes_crowd (marked iscrowd, left
    out), boxes_clipped. Raises MissingInputError, and ConfigurationError where the file is another.
    """
    content = load_json(path)
    lists = {name: content.get(name) if isinstance(content, dict) else None for name in ("images", "annotations")}
    if not all(isinstance(items, list) for items in lists.values()):
        raise ConfigurationError(f'{path} has no lists "images" and "annotations": give a COCO instances JSON')
    counts: Counter[str] = Counter()
    kinds = _kinds(content.get("categories", []), path)
    return Reading("coco", _read(path, lists, kinds, names, size_of, rescale, counts), counts)


def _kinds(categories: Any, path: str) -> dict[str, tuple[str, str]]:
    """A category's id -> its name, and its supercategory or, without one, its name again."""
    if not isinstance(categories, list):
        raise ConfigurationError(f'{path}: "categories" is no list: give a COCO instances JSON')
    kinds = {}
    for position, category in enumerate(categories):
        name = category.get("name") if isinstance(category, dict) else None
        if not isinstance(name, str) or "id" not in category:
            raise ConfigurationError(f"{path}: categories[{position}] has no id or no name: download the file again")
        kinds[str(category["id"])] = (name, str(category.get("supercategory") or name))
    return kinds


def _read(
    path: str,
    lists: dict[str, Any],
    kinds: dict[str, tuple[str, str]],
    names: ImageNames,
    size_of: Callable[[str], tuple[int, int]],
    rescale: bool,
    counts: Counter[str],
) -> Iterator[PhraseTruth | InputError]:
    pictures: dict[str, Picture | None] = {}
    owners: dict[str, str] = {}
    for position, image in enumerate(lists["images"]):
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str) or "id" not in image:
            yield InputError(Reason.BAD_LINE, f"images[{position}] has no id or no file_name.", path)
            continue
        key = str(image["id"])
        pictures[key] = None
        try:
            image_id = names.match(image["file_name"])
        except InputError:
            counts["images_of_others"] += 1
            continue
        counts["images"] += 1
        owner = owners.setdefault(image_id, image["file_name"])
        place = f"{path}:images[{position}]"
        if owner != image["file_name"]:
            message = f"{place}: {owner} and {image['file_name']} both mean {image_id}; which is meant is not guessed."
            yield InputError(Reason.DUPLICATE_ID, message, place)
            continue
        try:
            size = size_of(image_id)
            pictures[key] = Picture(image_id, size, _scale(image, size, rescale, place))
        except InputError as error:
            yield error
    met = set()
    for position, annotation in enumerate(lists["annotations"]):
        item = _phrase(annotation, f"{path}:annotations[{position}]", pictures, kinds, counts)
        if isinstance(item, PhraseTruth):
            met.add(item.image_id)
        if item is not None:
            yield item
    counts["images_without_box"] = sum(
        picture is not None and picture.image_id not in met for picture in pictures.values()
    )


def _scale(image: dict[str, Any], size: tuple[int, int], rescale: bool, place: str) -> tuple[float, float]:
    """Factors of x and y from the file's size of a picture, if it says one; InputError where that is another's."""
    width, height = image.get("width", size[0]), image.get("height", size[1])
    if (width, height) == size:
        return 1.0, 1.0
    sizes = f"{place}: boxes for {width} x {height} px, the picture has {size[0]} x {size[1]}"
    if not all(isinstance(side, int) and side > 0 for side in (width, height)):
        raise InputError(Reason.BAD_BOXES, f"{sizes}.", place)
    ratio, own = width / height, size[0] / size[1]
    if abs(ratio / own - 1) > SAME_SHAPE >= abs(ratio * own - 1):
        message = f"{sizes}: transposed, drawn before the EXIF orientation was applied?"
        raise InputError(Reason.BAD_BOXES, message, place)
    if not rescale:
        raise InputError(Reason.BAD_BOXES, f"{sizes}; ask for rescale if it is a resized copy.", place)
    return size[0] / width, size[1] / height


def _phrase(
    annotation: Any,
    place: str,
    pictures: dict[str, Picture | None],
    kinds: dict[str, tuple[str, str]],
    counts: Counter[str],
) -> PhraseTruth | InputError | None:
    """The phrase of one annotation; None for a crowd, or of a picture that no one asked for or that is refused."""
    if not isinstance(annotation, dict) or "image_id" not in annotation:
        return InputError(Reason.BAD_LINE, f"{place} has no image_id.", place)
    key = str(annotation["image_id"])
    if key not in pictures:
        message = f'{place} belongs to the image id {key}, which is not among "images".'
        return InputError(Reason.MISSING_IMAGE, message, place)
    picture = pictures[key]
    if picture is None:
        return None
    if annotation.get("iscrowd"):
        counts["boxes_crowd"] += 1
        return None
    category = annotation.get("category_id")
    if category is not None and str(category) not in kinds:
        return InputError(Reason.BAD_LINE, f'{place} is of category {category}, which "categories" lacks.', place)
    corners = corners_of(annotation.get("bbox"), "xywh", place, place)
    if isinstance(corners, InputError):
        return corners
    x, y = picture.scale
    x1, y1, x2, y2 = corners
    box = inside_picture((x * x1, y * y1, x * x2, y * y2), picture.size, place, place, counts)
    if isinstance(box, InputError):
        return box
    text, kind = (UNNAMED, UNNAMED) if category is None else kinds[str(category)]
    return PhraseTruth(picture.image_id, "", 0, 0, text, kind, box[None], *picture.size)
