"""Reading boxes that people bring: a COCO JSON (annotations or detections results) or a regions table."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from vsalign.errors import InputError, MissingInputError, Reason, TableError
from vsalign.storage import Folder, TableReader
from vsalign.storage.folder import split_url

EDGE = 1.0
"""px that a box may stand over the picture's edge (annotation rounding) before it is refused."""


@dataclass(frozen=True)
class GivenBoxes:
    """Boxes by image_id, each (n, 4) float32 xyxy px with (n,) scores, and the frame they were drawn in, if said."""

    boxes: dict[str, np.ndarray]
    scores: dict[str, np.ndarray]
    frames: dict[str, tuple[int, int]]

    def of(self, image_id: str, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """The boxes of one picture of `width` x `height` px, clipped to it.

        Raises InputError: NO_BOXES where none are given for it, BAD_BOXES where they do not fit the picture.
        """
        if image_id not in self.boxes:
            raise InputError(Reason.NO_BOXES, f"{image_id}: the boxes file names no such image", image_id)
        frame = self.frames.get(image_id, (width, height))
        if frame != (width, height):
            turned = " (transposed: drawn before the EXIF orientation was applied?)" if frame == (height, width) else ""
            raise InputError(
                Reason.BAD_BOXES,
                f"{image_id}: boxes for {frame[0]} x {frame[1]} px, the picture has {width} x {height}{turned}",
                image_id,
            )
        boxes, scores = self.boxes[image_id], self.scores[image_id]
        limit = np.array([width, height, width, height], dtype=np.float32)
        right = np.isfinite(boxes).all(1) & np.isfinite(scores)
        right &= (boxes >= -EDGE).all(1) & (boxes <= limit + EDGE).all(1)
        boxes = np.clip(boxes, 0, limit)
        right &= (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        if not right.all():
            first = int(np.flatnonzero(~right)[0])
            raise InputError(
                Reason.BAD_BOXES,
                f"{image_id}: box {first} is {self.boxes[image_id][first].tolist()} (x1, y1, x2, y2), which is empty, "
                f"not finite or outside the {width} x {height} picture: are the boxes in the declared format?",
                image_id,
            )
        return boxes, scores


def read_boxes(url: str) -> tuple[GivenBoxes, str]:
    """The boxes at `url` and the SHA-256 of what they were read from: a COCO JSON file, else a regions table.

    COCO's own boxes are x, y, width, height; images are matched by file_name = image_id. A results list (detections
    without `images`) must hold the image_id itself. Raises MissingInputError or TableError.
    """
    if not url.endswith(".json"):
        return _from_table(url)
    folder, name = split_url(url)
    try:
        data = Folder(folder).read(name)
    except FileNotFoundError:
        raise MissingInputError(f"there is no boxes file {url}: check the name") from None
    try:
        return _from_coco(json.loads(data)), hashlib.sha256(data).hexdigest()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(f"{url} is no COCO JSON with `images` and `annotations`: {error!r}") from error


def _from_coco(document: Any) -> GivenBoxes:
    """Boxes of an annotations document, or of a results list whose image_id is the image_id itself, not a number."""
    if isinstance(document, list):
        names = {entry["image_id"]: entry["image_id"] for entry in document}
        if numbers := [name for name in names if not isinstance(name, str)]:
            raise ValueError(
                f"a results list that names pictures by number ({numbers[0]!r}), not by file name; "
                "put it under `annotations` beside the `images` that it was made for"
            )
        images, annotations = [], document
    else:
        images, annotations = document["images"], document["annotations"]
        names = {image["id"]: image["file_name"] for image in images}
        if len({*names.values()}) < len(images):
            raise ValueError("two of its `images` share an id or a file_name")
    frames = {image["file_name"]: (int(image["width"]), int(image["height"])) for image in images if "width" in image}
    found: dict[str, list[list[float]]] = {name: [] for name in names.values()}
    for position, annotation in enumerate(annotations):
        if annotation["image_id"] not in names:
            raise ValueError(f"annotation {position} is of image {annotation['image_id']!r}, which `images` lacks")
        if len(annotation["bbox"]) != 4:
            raise ValueError(f"annotation {position} has a bbox of {len(annotation['bbox'])} numbers, not 4")
        x, y, width, height = annotation["bbox"]
        score = annotation.get("score", 1.0)
        found[names[annotation["image_id"]]].append([x, y, x + width, y + height, score])
    arrays = {name: np.array(rows, dtype=np.float32).reshape(-1, 5) for name, rows in found.items()}
    return GivenBoxes(
        {name: rows[:, :4] for name, rows in arrays.items()},
        {name: rows[:, 4] for name, rows in arrays.items()},
        frames,
    )


def _from_table(url: str) -> tuple[GivenBoxes, str]:
    reader = TableReader(url, "regions")
    boxes, scores, frames = {}, {}, {}
    digest = hashlib.sha256()
    for batch in reader.batches(["image_id", "width", "height", "boxes", "scores"]):
        for row in batch.to_pylist():
            name = row["image_id"]
            boxes[name] = np.array(row["boxes"][1:], dtype=np.float32).reshape(-1, 4)  # row 0, the whole image, is ours
            scores[name] = np.array(row["scores"][1:], dtype=np.float32)
            frames[name] = (row["width"], row["height"])
            digest.update(name.encode() + boxes[name].tobytes() + scores[name].tobytes())
    return GivenBoxes(boxes, scores, frames), digest.hexdigest()
