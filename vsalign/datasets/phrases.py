"""One door to phrases with their true boxes, whichever data set they are of.

phrases.jsonl               rendered scenes', or your own: a PhraseTruth a line
a folder or zip             Flickr30k Entities
instances_*.json            COCO: each box is a phrase, its category's name
region_descriptions.json    Visual Genome: each region is a phrase
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vsalign.boxes import valid
from vsalign.datasets.coco_boxes import read_instances
from vsalign.datasets.entities import Captions, Sizes, read_entities
from vsalign.datasets.entities_files import EntitiesFiles
from vsalign.datasets.files import is_url, lines, open_bytes
from vsalign.datasets.prepare import ImageNames
from vsalign.datasets.records import PhraseTruth, Reading
from vsalign.datasets.visual_genome import read_regions
from vsalign.errors import ConfigurationError, InputError, Reason

CAPTIONS = 5
"""Captions a picture of scenes, Flickr8k, Flickr30k and COCO: a thing that all of them name has so many phrases."""

REGION = "region"
"""The kind of Visual Genome's phrases."""


@dataclass(frozen=True, kw_only=True)
class TruthOptions:
    """Where true boxes are."""

    truth: str
    """Phrases with their boxes: a phrases.jsonl, or Flickr30k Entities (its folder or annotations.zip). Or boxes alone,
    each of them one phrase of its picture: a COCO instances JSON, or Visual Genome's region_descriptions.json."""
    rescale: bool = False
    """Boxes go with a picture to its own size, where yours are resized copies (Flickr8k's of 224 x 224 px). For
    Entities and COCO, which say the size that was annotated."""


class Truth(Reading[PhraseTruth]):
    """Phrases with their boxes."""

    def __init__(self, reading: Reading[PhraseTruth], sure: int) -> None:
        super().__init__(reading.format, reading, reading.counts)
        self.sure = sure
        """Phrases at one place from which on everybody names what is there."""

    def __iter__(self) -> Iterator[PhraseTruth | InputError]:
        return self._items  # counted by the reading it was made of


def read_truth(path: str, captions: Captions, sizes: Sizes, rescale: bool = False) -> Truth:
    """The phrases of the given captions (or, where only boxes are given, of their pictures) with their boxes.

    captions: image_id -> its (caption_id, text). sizes: width, height px of the upright pictures that the boxes are
    asked for. What cannot be used is an InputError, and counted. A phrase of boxes alone has no caption: its caption_id
    is "", and no word of it is anywhere. Raises MissingInputError, and ConfigurationError where the file is another.
    """
    format = truth_format(path, rescale)
    if format == "scenes":
        wanted = {(image_id, caption_id) for image_id, own in captions.items() for caption_id, _ in own}
        return Truth(Reading(format, _scenes(path, wanted), Counter()), CAPTIONS)
    if format == "entities":
        return Truth(read_entities(path, captions, sizes, rescale), CAPTIONS)
    size_of = sizes if callable(sizes) else sizes.__getitem__
    if format == "coco":
        return Truth(read_instances(path, ImageNames(captions), size_of, rescale), 1)
    counts: Counter[str] = Counter()
    return Truth(Reading(format, _regions(path, ImageNames(captions), size_of, counts), counts), 1)


def truth_format(path: str, rescale: bool = False) -> str:
    """What `read_truth` would read it as: scenes, entities, coco or visual_genome, told by how it begins.

    Raises MissingInputError where there is nothing, ConfigurationError where it is none of them, or cannot be rescaled.
    """
    if not is_url(path) and Path(path).is_dir():
        return "entities"
    with open_bytes(path) as file:
        start = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    if path.endswith(".jsonl"):
        return "scenes"
    if start.startswith(b"["):
        if rescale:
            raise ConfigurationError(
                f"{path} does not say for which size of its pictures the boxes were drawn: leave --rescale out"
            )
        return "visual_genome"
    if start.startswith(b"{"):
        return "coco"
    if start.startswith(b"PK"):
        return "entities"
    raise ConfigurationError(
        f"{path} holds no phrases with boxes: give a phrases.jsonl, Flickr30k Entities (its folder or zip), a COCO "
        "instances JSON or Visual Genome's region_descriptions.json"
    )


def require_truth(path: str, rescale: bool = False) -> None:
    """Raise what `read_truth` would, MissingInputError or ConfigurationError, as far as the beginning tells."""
    if truth_format(path, rescale) == "entities":
        with EntitiesFiles(path):
            pass


def _scenes(path: str, wanted: set[tuple[str, str]]) -> Iterator[PhraseTruth | InputError]:
    """The phrases of the wanted (image_id, caption_id), line by line."""
    for number, line in lines(path):
        if not line.strip():
            continue
        uri = f"{path}:{number}"
        try:
            phrase = PhraseTruth.from_json(line.decode())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            yield InputError(Reason.BAD_LINE, f"{uri} is no phrase with boxes ({error}).", uri)
            continue
        if (phrase.image_id, phrase.caption_id) not in wanted:
            continue
        if not len(phrase.boxes) or not valid(phrase.boxes).all() or min(phrase.width, phrase.height) < 1:
            message = f"{uri}: its boxes are {phrase.boxes.tolist()}, of which one has no area, or there is none."
            yield InputError(Reason.BAD_BOXES, message, uri)
            continue
        yield phrase


def _regions(
    path: str, names: ImageNames, size_of: Callable[[str], tuple[int, int]], counts: Counter[str]
) -> Iterator[PhraseTruth | InputError]:
    """Visual Genome's regions of the pictures that are named N.jpg, wherever they lie."""
    known: dict[str, str | None] = {}

    def image_id(number: object) -> str | None:
        name = f"{number}.jpg"
        if name not in known:
            try:
                known[name] = names.match(name)
            except InputError:
                known[name] = None
        return known[name]

    reading = read_regions(path, size_of, image_name=image_id)
    for item in reading:
        if isinstance(item, InputError):
            yield item
        else:
            size = size_of(item.image_name)
            yield PhraseTruth(item.image_name, "", 0, 0, item.text, REGION, item.box[None], *size)
    counts.update({name: count for name, count in reading.counts.items() if name not in ("records", "errors")})


def by_image(captions: Sequence[tuple[str, str, str]]) -> Mapping[str, Sequence[tuple[str, str]]]:
    """Captions given as (image_id, caption_id, text), gathered by image in their order."""
    gathered: dict[str, list[tuple[str, str]]] = {}
    for image_id, caption_id, text in captions:
        gathered.setdefault(image_id, []).append((caption_id, text))
    return gathered
