"""Descriptions and references in COCO's JSON forms, which other people's tools read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from vsalign.errors import MissingInputError, TableError
from vsalign.storage import Folder
from vsalign.storage.folder import split_url


def results_json(candidates: Mapping[str, str]) -> list[dict[str, Any]]:
    """A COCO results document; the ids are ours, which are texts."""
    return [{"image_id": image_id, "caption": text} for image_id, text in candidates.items()]


def references_json(references: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A COCO captions document of the same ids."""
    texts = [(image_id, text) for image_id, own in references.items() for text in own]
    return {
        "info": {},
        "licenses": [],
        "type": "captions",
        "images": [{"id": image_id} for image_id in references],
        "annotations": [
            {"id": number, "image_id": image_id, "caption": text} for number, (image_id, text) in enumerate(texts, 1)
        ],
    }


def read_results(url: str, known: Collection[str]) -> dict[str, str]:
    """The descriptions of a COCO results document by image_id, those of `known` images alone; numbers become texts.

    Raises MissingInputError where there is none, TableError where it is no such document or describes an image twice.
    """
    folder, name = split_url(url)
    try:
        rows = json.loads(Folder(folder).read(name))
        pairs = [(str(row["image_id"]), row["caption"]) for row in rows]
    except FileNotFoundError:
        raise MissingInputError(f"there is no results file {url}: check the name") from None
    except (ValueError, KeyError, TypeError) as error:
        raise TableError(f'{url} is no COCO results JSON ([{{"image_id", "caption"}}, …]): {error!r}') from error
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(image_id for image_id, count in Counter(image_id for image_id, _ in pairs).items() if count > 1)
        raise TableError(f"{url} describes the image {twice} twice: which is meant is not guessed")
    return {image_id: text for image_id, text in found.items() if image_id in known}
