"""From a captions file to rows of the captions table: which picture a line means, its split, its words."""

from __future__ import annotations

import hashlib
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from vsalign import tables
from vsalign.datasets.records import CaptionRecord
from vsalign.errors import ConfigurationError, InputError, Reason
from vsalign.storage import ShardResult, ShardWriter
from vsalign.text import tokenize

CAPTION_PLAN = pa.schema(
    [
        ("uri", pa.string()),
        ("image_id", pa.string()),
        ("caption_id", pa.string()),
        ("split", pa.string()),
        ("text", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
    ]
)
"""One line of a captions file: a caption whose picture and split are known, or the reason why it is none."""

LINES_A_SHARD = 10_000
SHOWN = 5
"""Candidates that a message about an ambiguous name lists."""


class ImageNames:
    """The pictures that exist, found by what a captions file calls them; never guessed."""

    def __init__(self, image_ids: Iterable[str]) -> None:
        self.ids = set(image_ids)
        self._by_stem: dict[str, list[str]] = {}
        for image_id in sorted(self.ids):
            self._by_stem.setdefault(_stem(posixpath.basename(image_id)), []).append(image_id)

    def match(self, name: str) -> str:
        """The image_id that `name` means: that very path; else the only one of which it is the end, or that is its end.

        `0001.jpg` and `a/0001.jpg` mean photos/a/0001.jpg where no other picture fits; `0001` does too, where none fits
        with an extension. Raises InputError(MISSING_IMAGE) where none fits, or several, which the message lists.
        """
        if name in self.ids:
            return name
        base = posixpath.basename(name)
        near = {found for stem in (_stem(base), base) for found in self._by_stem.get(stem, [])}
        for fits in (_same_end, _same_end_but_extension):
            found = sorted(image_id for image_id in near if fits(name, image_id))
            if len(found) == 1:
                return found[0]
            if found:
                shown = ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
                raise InputError(Reason.MISSING_IMAGE, f"{name} is ambiguous: {len(found)} pictures fit it ({shown}).")
        raise InputError(Reason.MISSING_IMAGE, f"there is no picture {name}.")


@dataclass(frozen=True)
class PlannedCaptions:
    """The lines of a captions file in its order, each matched with its picture and split, or with what it lacks."""

    lines: list[dict[str, Any]]
    """Rows of CAPTION_PLAN."""
    counts: dict[str, int]
    """Of pictures: in tune, and without a caption."""

    def shards(self, size: int = LINES_A_SHARD) -> Iterator[list[dict[str, Any]]]:
        """The lines in slices of `size`."""
        for start in range(0, len(self.lines), size):
            yield self.lines[start : start + size]


def plan_captions(
    items: Iterable[CaptionRecord | InputError],
    images: ImageNames,
    *,
    uri: str,
    tune: int = 0,
    default_split: str = "",
) -> PlannedCaptions:
    """Match every line of the captions file `uri` with its picture and its split.

    A line without a picture is MISSING_IMAGE whatever its split; one without a split gets `default_split`, or is
    NO_SPLIT. `tune` training pictures, see `held_out`, become the split "tune".
    Raises ConfigurationError where a picture would be in two splits.
    """
    matched: list[tuple[CaptionRecord, str] | InputError] = []
    for item in items:
        if isinstance(item, CaptionRecord):
            matched.append(_matched(replace(item, split=item.split or default_split or None), images, uri))
        else:
            matched.append(item)
    used = [item for item in matched if not isinstance(item, InputError)]
    splits = _one_split_each(used)
    splits |= dict.fromkeys(held_out(used, tune), "tune")
    lines = [
        _planned_error(item, uri) if isinstance(item, InputError) else _planned_caption(*item, splits[item[1]], uri)
        for item in matched
    ]
    counts = {"images_without_caption": len(images.ids - splits.keys())}
    if tune:
        counts["images_in_tune"] = tune
    return PlannedCaptions(lines, counts)


def held_out(captions: Iterable[tuple[CaptionRecord, str]], count: int) -> list[str]:
    """The image_ids of the `count` training pictures with the smallest SHA-256 of their name in the captions file.

    So the choice is the same on every machine, and does not hang on the order of the file or on where the pictures lie.
    Raises ConfigurationError where there are not more training pictures than that, or a split "tune" already.
    """
    if not count:
        return []
    captions = list(captions)
    if any(record.split == "tune" for record, _ in captions):
        raise ConfigurationError(f"--tune {count}: the captions file has a split tune already; leave --tune out")
    names: dict[str, str] = {}
    for record, image_id in captions:
        if record.split == "train":
            names[image_id] = min(record.image_name, names.get(image_id, record.image_name))
    if len(names) <= count:
        raise ConfigurationError(
            f"--tune {count} would leave none of the {len(names)} training pictures: give a smaller number"
        )
    return sorted(names, key=lambda image_id: (hashlib.sha256(names[image_id].encode()).digest(), image_id))[:count]


def prepare_shard(lines: Iterable[dict[str, Any]], max_tokens: int, writer: ShardWriter) -> ShardResult:
    """Write the captions of one shard of the plan, and commit it; counts what was cut at `max_tokens` words."""
    rows: list[dict[str, Any]] = []
    inputs = 0
    for line in lines:
        inputs += 1
        try:
            row, cut = caption_row(line, max_tokens)
        except InputError as error:
            writer.add_error(tables.error_row(line["uri"], writer.output.stage, error.reason, error.message))
            continue
        rows.append(row)
        writer.counts["captions_cut"] += cut
    writer.write(rows)
    return writer.commit(inputs)


def caption_row(line: dict[str, Any], max_tokens: int) -> tuple[dict[str, Any], bool]:
    """A row of the captions table, and whether its tokens were cut at `max_tokens`; the text stays whole.

    Raises InputError: the planned one, or NO_WORDS where the text has neither letter nor digit.
    """
    if line["reason"]:
        raise InputError(Reason(line["reason"]), line["message"], line["uri"])
    tokens = tokenize(line["text"])
    if not tokens:
        raise InputError(Reason.NO_WORDS, f"{line['caption_id']}: {line['text']!r} has no word.", line["uri"])
    row = {name: line[name] for name in ("image_id", "caption_id", "split", "text")}
    return {**row, "tokens": tokens[:max_tokens]}, len(tokens) > max_tokens


def captions_per_image(image_ids: Iterable[str]) -> dict[int, int]:
    """How many pictures have 1, 2, ... captions, from the image_id of every caption."""
    return dict(sorted(Counter(Counter(image_ids).values()).items()))


def _matched(record: CaptionRecord, images: ImageNames, uri: str) -> tuple[CaptionRecord, str] | InputError:
    try:
        image_id = images.match(record.image_name)
    except InputError as error:
        return InputError(error.reason, f"{record.caption_id}: {error.message}", _place(record, uri))
    if record.split is None:
        message = f"{record.caption_id}: the picture {record.image_name} is in no split (--default-split gives one)."
        return InputError(Reason.NO_SPLIT, message, _place(record, uri))
    return record, image_id


def _place(record: CaptionRecord, uri: str) -> str:
    return f"{uri}:{record.line}" if record.line else f"{uri}#{record.caption_id}"


def _one_split_each(captions: Iterable[tuple[CaptionRecord, str]]) -> dict[str, str]:
    """image_id -> split; raises ConfigurationError where two names of a picture are in different splits."""
    first: dict[str, CaptionRecord] = {}
    for record, image_id in captions:
        known = first.setdefault(image_id, record)
        if known.split != record.split:
            raise ConfigurationError(
                f"picture {image_id} is in the split {known.split} (as {known.image_name}) and in {record.split} "
                f"(as {record.image_name}); remove it from one of them, or test pictures would be trained on."
            )
    return {image_id: str(record.split) for image_id, record in first.items()}


def _planned_caption(record: CaptionRecord, image_id: str, split: str, uri: str) -> dict[str, Any]:
    return {
        "uri": _place(record, uri),
        "image_id": image_id,
        "caption_id": record.caption_id,
        "split": split,
        "text": record.text,
        "reason": None,
        "message": None,
    }


def _planned_error(error: InputError, uri: str) -> dict[str, Any]:
    nothing = dict.fromkeys(CAPTION_PLAN.names)
    return {**nothing, "uri": error.uri or uri, "reason": str(error.reason), "message": error.message}


def _same_end(name: str, image_id: str) -> bool:
    return image_id.endswith("/" + name) or name.endswith("/" + image_id)


def _same_end_but_extension(name: str, image_id: str) -> bool:
    """Whether they end alike where one of the two has no extension."""
    bare_id = _stem(image_id)
    if bare_id != image_id and (name == bare_id or _same_end(name, bare_id)):
        return True
    bare_name = _stem(name)
    return bare_name != name and (image_id == bare_name or _same_end(bare_name, image_id))


def _stem(path: str) -> str:
    """The path without its last extension; .hidden has none."""
    return posixpath.splitext(path)[0]
