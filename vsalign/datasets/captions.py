"""One door to all captions files: the format is told by the content, never by the extension."""

from __future__ import annotations

from collections.abc import Mapping

from vsalign.datasets.coco import coco_captions
from vsalign.datasets.files import first_bytes, load_json
from vsalign.datasets.flickr import read_token_file
from vsalign.datasets.karpathy import karpathy_captions
from vsalign.datasets.records import CaptionRecord, Reading
from vsalign.errors import ConfigurationError

FORMATS = ("auto", "flickr", "karpathy", "coco")


def read_captions(
    path: str,
    format: str = "auto",
    splits: Mapping[str, str] | None = None,
    split: str | None = None,
    restval: str = "train",
) -> Reading[CaptionRecord]:
    """Captions of a Flickr token file, a Karpathy or a COCO JSON in file order, bad ones as InputErrors.

    splits: split -> list file (flickr; None: the published lists beside the file). split: of all captions
    (coco; None: by file name). restval: the split that COCO's restval pictures count as (karpathy).
    Options and split lists are checked here, before the first record. Raises MissingInputError,
    ConfigurationError.
    """
    if format not in FORMATS:
        raise ConfigurationError(f"captions format {format!r} is unknown; choose one of {', '.join(FORMATS)}.")
    begins_as_json = first_bytes(path).removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"["))
    if format == "flickr" or (format == "auto" and not begins_as_json):
        _refuse(split, "split", "a Flickr token file", "give lists in splits")
        return read_token_file(path, splits)
    _refuse(splits, "splits", "a JSON captions file", "its splits are in the file or in the split option")
    content = load_json(path)
    if format == "auto":
        format = "coco" if isinstance(content, dict) and "annotations" in content else "karpathy"
    if format == "coco":
        return coco_captions(content, path, split)
    _refuse(split, "split", "a Karpathy JSON", "its splits are in the file")
    return karpathy_captions(content, path, restval)


def _refuse(value: object, option: str, kind: str, remedy: str) -> None:
    if value:
        raise ConfigurationError(f"the option {option} has no meaning for {kind} (it is {value!r}); {remedy}.")
