"""What every reader of a data set gives: captions, and phrases with their true boxes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from vsalign.errors import ConfigurationError, InputError, Reason

Record = TypeVar("Record")

_SPLIT_NAMES = {"val": "dev", "valid": "dev", "validation": "dev", "training": "train", "testing": "test"}


@dataclass(frozen=True)
class CaptionRecord:
    """One caption as its file has it; whether the picture exists is not known here."""

    image_name: str
    """The picture as the captions file calls it."""
    caption_id: str
    """Unique in its file: NAME#K in token files, the sentence's own id in JSON."""
    split: str | None
    """train, tune, dev, test, or another name the file uses; None where the picture is in no split."""
    text: str
    line: int
    """1-based line of the file; 0 where the format has no lines (JSON)."""


@dataclass(frozen=True, eq=False)
class PhraseTruth:
    """A phrase of a caption and the boxes that people (or the renderer) gave it."""

    image_id: str
    caption_id: str
    start: int
    """Index of the phrase's first word in `tokenize(caption)`."""
    end: int
    """Index after the phrase's last word."""
    text: str
    """The phrase as the caption has it."""
    kind: str
    """Entities: people, animals, ...; scenes: the shape."""
    boxes: np.ndarray
    """(n, 4) float32, x1, y1, x2, y2 in px of a picture of width x height; n >= 1."""
    width: int
    height: int

    def to_json(self) -> str:
        """One line of a phrases file."""
        return json.dumps({**self.__dict__, "boxes": self.boxes.astype(float).tolist()}, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> PhraseTruth:
        """The phrase of one line that `to_json` wrote; ValueError, KeyError or TypeError on another."""
        row = json.loads(line)
        boxes = np.asarray(row.pop("boxes"), np.float32).reshape(-1, 4)
        return cls(boxes=boxes, **row)


class Reading(Generic[Record]):
    """What a file holds, one by one in its order: a record, or the InputError that says why there is none.

    `counts` says how many of each there were and what the reader did on the way; it is complete after the
    last record. Can be gone through once.
    """

    def __init__(self, format: str, items: Iterable[Record | InputError], counts: Counter[str]) -> None:
        self.format = format
        self.counts = counts
        self._items = iter(items)

    def __iter__(self) -> Iterator[Record | InputError]:
        for item in self._items:
            self.counts["errors" if isinstance(item, InputError) else "records"] += 1
            yield item

    def split(self) -> tuple[list[Record], list[InputError]]:
        """All records and all errors, as two lists."""
        records: list[Record] = []
        errors: list[InputError] = []
        for item in self:
            if isinstance(item, InputError):
                errors.append(item)
            else:
                records.append(item)
        return records, errors


def split_name(name: str) -> str:
    """One name for what data sets call val, valid or validation: dev; other names stay."""
    return _SPLIT_NAMES.get(name.strip().lower(), name.strip())


def caption_text(value: Any, place: str, uri: str) -> str | InputError:
    """The caption without outer blanks, or the error that says why `value`, found at `place`, is none.

    Whatever is a non-empty string is a caption ("None", "null", "NA" too). A lone surrogate is refused here,
    because no table could hold it.
    """
    if not isinstance(value, str):
        return InputError(Reason.BAD_LINE, f"{place}: the caption is {value!r}, not a text.", uri)
    text = value.strip()
    if not text:
        return InputError(Reason.BAD_LINE, f"{place}: the caption is empty.", uri)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return InputError(Reason.BAD_LINE, f"{place}: the caption holds half a character (a lone surrogate).", uri)
    return text


class SplitTable:
    """Which split a picture is in; a picture in two splits is a ConfigurationError that names it."""

    def __init__(self) -> None:
        self._splits: dict[str, tuple[str, str]] = {}

    def __len__(self) -> int:
        return len(self._splits)

    def add(self, image: str, split: str, source: str) -> None:
        """Note that `source` puts `image` into `split`; ConfigurationError where another disagrees."""
        known, known_source = self._splits.setdefault(image, (split, source))
        if known != split:
            raise ConfigurationError(
                f"picture {image} is in the split {known} ({known_source}) and in {split} ({source}); "
                "remove it from one of them, or test pictures would be trained on."
            )

    def of(self, image: str) -> str | None:
        """The split of an image name, listed with its extension or (as Flickr30k's lists do) without."""
        entry = self._splits.get(image) or self._splits.get(image.rpartition(".")[0])
        return entry[0] if entry else None
