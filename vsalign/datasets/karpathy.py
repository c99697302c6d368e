"""Karpathy's dataset_flickr8k.json, dataset_flickr30k.json and dataset_coco.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from vsalign.datasets.files import load_json
from vsalign.datasets.records import CaptionRecord, Reading, SplitTable, caption_text, split_name
from vsalign.errors import ConfigurationError, InputError, Reason


def read_karpathy(path: str, restval: str = "train") -> Reading[CaptionRecord]:
    """Captions of a Karpathy JSON in file order; its split val is called dev here.

    restval: the split that the `restval` pictures of COCO (30,504) count as; "restval" keeps them apart. The
    caption is `raw`, or `tokens` joined by blanks where a sentence has no raw text.
    Counts: records, errors, no_split, restval_images (pictures that the option moved).
    Raises MissingInputError, and ConfigurationError where the file is another, or a picture (by name or
    imgid) is in two splits.
    """
    return karpathy_captions(load_json(path), path, restval)


def karpathy_captions(content: Any, path: str, restval: str = "train") -> Reading[CaptionRecord]:
    """`read_karpathy` of JSON that was loaded already; path is for the messages."""
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise ConfigurationError(f'{path} has no list "images"; give one of Karpathy\'s dataset_*.json files.')
    counts: Counter[str] = Counter()
    named, numbered = SplitTable(), SplitTable()
    for position, image in enumerate(images):
        if not isinstance(image, dict) or not isinstance(image.get("split"), str):
            continue
        split = _split(image, restval)
        if image["split"] == "restval" and split != "restval":
            counts["restval_images"] += 1
        place = f"{path}, images[{position}]"
        if isinstance(name := _name(image), str):
            named.add(name, str(split), place)
        if "imgid" in image:
            numbered.add(f"imgid {image['imgid']}", str(split), place)
    return Reading("karpathy", _captions(images, path, restval, counts), counts)


def _captions(images: list[Any], path: str, restval: str, counts: Counter[str]) -> Iterator[CaptionRecord | InputError]:
    seen: dict[str, str] = {}
    for position, image in enumerate(images):
        place = f"images[{position}]"
        name = _name(image) if isinstance(image, dict) else None
        sentences = image.get("sentences") if isinstance(image, dict) else None
        if name is None or not isinstance(sentences, list):
            yield InputError(Reason.BAD_LINE, f"{place} has no file name or no list of sentences.", f"{path}:{place}")
            continue
        split = _split(image, restval)
        for index, sentence in enumerate(sentences):
            where = f"{place} ({name}) sentences[{index}]"
            item = _caption(sentence, name, split, f"{name}#{index}", where, path)
            if isinstance(item, CaptionRecord):
                first = seen.setdefault(item.caption_id, where)
                if first != where:
                    message = f"{where} has the sentid {item.caption_id} of {first}."
                    item = InputError(Reason.BAD_LINE, message, f"{path}:{where}")
                elif split is None:
                    counts["no_split"] += 1
            yield item


def _caption(
    sentence: Any, name: str, split: str | None, default_id: str, where: str, path: str
) -> CaptionRecord | InputError:
    uri = f"{path}:{where}"
    if not isinstance(sentence, dict):
        return InputError(Reason.BAD_LINE, f"{where} is {sentence!r}, not a sentence with raw text.", uri)
    raw, tokens = sentence.get("raw"), sentence.get("tokens")
    if raw is None and isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
        raw = " ".join(tokens)
    text = caption_text(raw, where, uri)
    if isinstance(text, InputError):
        return text
    return CaptionRecord(name, str(sentence.get("sentid", default_id)), split, text, 0)


def _name(image: dict[str, Any]) -> str | None:
    """filename, below filepath where there is one (COCO: val2014/COCO_val2014_000000391895.jpg)."""
    name, folder = image.get("filename"), image.get("filepath")
    if not isinstance(name, str) or not name:
        return None
    return f"{folder.strip('/')}/{name}" if isinstance(folder, str) and folder.strip("/") else name


def _split(image: dict[str, Any], restval: str) -> str | None:
    split = image.get("split")
    if not isinstance(split, str) or not split:
        return None
    return restval if split == "restval" else split_name(split)
