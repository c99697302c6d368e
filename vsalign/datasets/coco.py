"""COCO captions JSON (captions_train2014.json, captions_val2017.json, ...)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from vsalign.datasets.files import file_name, load_json
from vsalign.datasets.records import CaptionRecord, Reading, caption_text, split_name
from vsalign.errors import ConfigurationError, InputError, Reason

_MARKS = {"train2014": "train", "train2017": "train", "val2014": "dev", "val2017": "dev"}


def read_coco_captions(path: str, split: str | None = None) -> Reading[CaptionRecord]:
    """Captions of a COCO captions JSON in file order; image_name is `file_name`, caption_id its id.

    split: the split of all its captions; None: train or dev by the file's name (train2014, val2014, 2017
    alike), else by each picture's name (COCO_val2014_...), else no split.
    Counts: records, errors, no_split. Raises MissingInputError, and ConfigurationError where the file is
    another.
    """
    return coco_captions(load_json(path), path, split)


def coco_captions(content: Any, path: str, split: str | None = None) -> Reading[CaptionRecord]:
    """`read_coco_captions` of JSON that was loaded already; path is for the messages."""
    images = content.get("images") if isinstance(content, dict) else None
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise ConfigurationError(f'{path} has no lists "images" and "annotations"; give a COCO captions JSON.')
    names: dict[str, str] = {}
    for position, image in enumerate(images):
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str) or "id" not in image:
            raise ConfigurationError(f"{path}: images[{position}] has no id or no file_name; download the file again.")
        known = names.setdefault(str(image["id"]), image["file_name"])
        if known != image["file_name"]:
            raise ConfigurationError(
                f"{path} gives the image id {image['id']} to {known} and to {image['file_name']}; "
                "give each picture its own id."
            )
    counts: Counter[str] = Counter()
    fixed = split_name(split) if split else _by_name(file_name(path))
    return Reading("coco", _captions(annotations, names, fixed, path, counts), counts)


def _captions(
    annotations: list[Any], names: dict[str, str], fixed: str | None, path: str, counts: Counter[str]
) -> Iterator[CaptionRecord | InputError]:
    seen: dict[str, int] = {}
    for position, annotation in enumerate(annotations):
        item = _caption(annotation, position, names, fixed, path)
        if isinstance(item, CaptionRecord):
            first = seen.setdefault(item.caption_id, position)
            if first != position:
                message = f"annotations[{position}] has the id {item.caption_id} of annotations[{first}]."
                item = InputError(Reason.BAD_LINE, message, f"{path}:annotations[{position}]")
            elif item.split is None:
                counts["no_split"] += 1
        yield item


def _caption(
    annotation: Any, position: int, names: dict[str, str], fixed: str | None, path: str
) -> CaptionRecord | InputError:
    place = f"annotations[{position}]"
    uri = f"{path}:{place}"
    if not isinstance(annotation, dict) or "caption" not in annotation or "image_id" not in annotation:
        return InputError(Reason.BAD_LINE, f"{place} has no caption or no image_id.", uri)
    name = names.get(str(annotation["image_id"]))
    if name is None:
        message = f'{place} belongs to the image id {annotation["image_id"]}, which is not among "images".'
        return InputError(Reason.MISSING_IMAGE, message, uri)
    text = caption_text(annotation["caption"], place, uri)
    if isinstance(text, InputError):
        return text
    caption_id = str(annotation.get("id", place))
    return CaptionRecord(name, caption_id, fixed or _by_name(name), text, 0)


def _by_name(name: str) -> str | None:
    return next((split for mark, split in _MARKS.items() if mark in name), None)
