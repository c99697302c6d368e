"""Flickr30k Entities (Plummer et al., IJCV 123, 2017): phrases of captions and the boxes people drew."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vsalign.boxes import as_boxes, clip, valid
from vsalign.datasets.entities_files import Annotation, EntitiesFiles
from vsalign.datasets.records import PhraseTruth, Reading
from vsalign.errors import InputError, Reason
from vsalign.text import tokenize

Captions = Mapping[str, Sequence[tuple[str, str]]]
"""image_id -> its captions as (caption_id, text)."""

Sizes = Mapping[str, tuple[int, int]] | Callable[[str], tuple[int, int]]
"""image_id -> width, height in px of the upright picture that the boxes are for."""

PHRASE = re.compile(r"\[/EN#(?P<chain>[^/\s\]]+)/(?P<kind>[^\s\]]+) (?P<words>[^\]]*)\]")
NOT_VISUAL = "0"
SAME_SHAPE = 0.02
"""Relative difference of two aspect ratios that still counts as the same shape: rounding of a resized
picture's sides (a guess; 0.5 px of 50 is 0.01).
"""


@dataclass(frozen=True)
class MarkedPhrase:
    """A phrase of a marked sentence: words [start, end) of `tokenize(sentence)`."""

    chain: str
    kind: str
    text: str
    start: int
    end: int


def read_entities(path: str, captions: Captions, image_sizes: Sizes, rescale: bool = False) -> Reading[PhraseTruth]:
    """Phrases of the given captions with their boxes, picture by picture in the order of `captions`.

    path: the folder that holds Annotations/ and Sentences/, or the published zip. A picture's ID is its file
    name up to the first `_` (Flickr8k) or the extension (Flickr30k). A sentence is matched to a caption by
    its words, whatever its place among the lines. Boxes: 1-based inclusive in the file, here x1 - 1, y1 - 1,
    x2, y2 (0-based, x2 exclusive).
    rescale: boxes go with the picture to its own size; without it another size than the annotated one is an
    InputError, and width and height exchanged always are (boxes of the stored instead of the upright
    picture).

    Counts: images, images_without_annotation, sentences, sentences_unmatched, phrases, phrases_not_visual
    (chain 0), phrases_without_box, phrases_unaligned (cut words), boxes_clipped. A box without area is an
    InputError; the chain's other boxes stay.
    Raises MissingInputError where path has no such folders.
    """
    counts: Counter[str] = Counter()
    files = EntitiesFiles(path)
    size_of = image_sizes if callable(image_sizes) else image_sizes.__getitem__
    return Reading("entities", _read(files, captions, size_of, rescale, counts), counts)


def entity_id(image_id: str) -> str:
    """The Entities ID of a picture: its file name without extension, up to the first `_`."""
    return posixpath.basename(image_id).partition(".")[0].partition("_")[0]


def union_box(boxes: ArrayLike) -> np.ndarray:
    """The smallest box (4,) float32 around boxes (n, 4), n >= 1: the published truth of a phrase."""
    array = as_boxes(boxes)
    return np.concatenate([array[:, :2].min(axis=0), array[:, 2:].max(axis=0)]).astype(np.float32)


def parse_sentence(line: str) -> tuple[str, list[MarkedPhrase], int]:
    """A marked line as its plain sentence, its phrases, and how many phrases begin or end inside a word.

    `[/EN#18/people A child] is climbing` -> "A child is climbing", [18 people "A child" words 0 to 2], 0.
    """
    sentence = PHRASE.sub(lambda match: match["words"], line).strip()
    words = tokenize(sentence)
    phrases: list[MarkedPhrase] = []
    unaligned = 0
    for match in PHRASE.finditer(line):
        before = tokenize(PHRASE.sub(lambda inner: inner["words"], line[: match.start()]))
        inside = tokenize(match["words"])
        start, end = len(before), len(before) + len(inside)
        if inside and words[:start] == before and words[start:end] == inside:
            phrases.append(MarkedPhrase(match["chain"], match["kind"], match["words"].strip(), start, end))
        else:
            unaligned += 1
    return sentence, phrases, unaligned


def _read(
    files: EntitiesFiles,
    captions: Captions,
    size_of: Callable[[str], tuple[int, int]],
    rescale: bool,
    counts: Counter[str],
) -> Iterator[PhraseTruth | InputError]:
    owners: dict[str, str] = {}
    with files:
        for image_id, own_captions in captions.items():
            counts["images"] += 1
            identity = entity_id(image_id)
            owner = owners.setdefault(identity, image_id)
            if owner != image_id:
                message = f"{image_id} has the Entities ID {identity} of {owner}; which is meant is not guessed."
                yield InputError(Reason.DUPLICATE_ID, message, image_id)
                continue
            if not files.has(identity):
                counts["images_without_annotation"] += 1
                continue
            try:
                annotation = files.annotation(identity)
                scale = _scale(annotation, *size_of(image_id), rescale)
                lines = files.sentences(identity)
            except InputError as error:
                yield error
                continue
            boxes, errors = _boxes(annotation, scale, size_of(image_id), counts)
            yield from errors
            yield from _phrases(image_id, lines, own_captions, boxes, size_of(image_id), counts)


def _scale(annotation: Annotation, width: int, height: int, rescale: bool) -> tuple[float, float]:
    """Factors of x and y from the annotated frame to the picture; InputError where the frames disagree."""
    sizes = f"annotated at {annotation.width} x {annotation.height} px, the picture is {width} x {height}"
    if (width, height) == (annotation.width, annotation.height):
        return 1.0, 1.0
    ratio, own = annotation.width / annotation.height, width / height
    same = abs(ratio / own - 1) <= SAME_SHAPE
    if not same and abs(ratio * own - 1) <= SAME_SHAPE:
        message = f"{annotation.uri}: {sizes}: transposed, so boxes would lie on the wrong frame."
        raise InputError(Reason.BAD_BOXES, message, annotation.uri)
    if not rescale:
        message = f"{annotation.uri}: {sizes}; ask for rescale if the picture is a resized copy."
        raise InputError(Reason.BAD_BOXES, message, annotation.uri)
    return width / annotation.width, height / annotation.height


def _boxes(
    annotation: Annotation, scale: tuple[float, float], size: tuple[int, int], counts: Counter[str]
) -> tuple[dict[str, np.ndarray], list[InputError]]:
    """Chain -> boxes (n, 4) float32 in the picture's px, and an error for each box without area in it."""
    boxes: dict[str, list[np.ndarray]] = {}
    errors: list[InputError] = []
    for chains, (x1, y1, x2, y2) in annotation.boxes:
        box = np.array([(x1 - 1) * scale[0], (y1 - 1) * scale[1], x2 * scale[0], y2 * scale[1]])
        inside = clip(box, *size)
        if not valid(box)[0] or not valid(inside)[0]:
            place = f"box {x1}, {y1}, {x2}, {y2} of the chains {', '.join(chains)}"
            message = f"{annotation.uri}: {place} has no area in the picture."
            errors.append(InputError(Reason.BAD_BOXES, message, annotation.uri))
            continue
        # Half a pixel is what rescaling rounds away; more is a box that reached outside.
        counts["boxes_clipped"] += int(np.abs(inside[0] - box).max() > 0.5)
        for chain in chains:
            boxes.setdefault(chain, []).append(inside[0])
    return {chain: np.asarray(parts, np.float32) for chain, parts in boxes.items()}, errors


def _phrases(
    image_id: str,
    lines: list[str],
    captions: Sequence[tuple[str, str]],
    boxes: dict[str, np.ndarray],
    size: tuple[int, int],
    counts: Counter[str],
) -> Iterator[PhraseTruth]:
    waiting: dict[tuple[str, ...], list[str]] = {}
    for caption_id, text in captions:
        waiting.setdefault(tuple(tokenize(text)), []).append(caption_id)
    for line in lines:
        sentence, phrases, unaligned = parse_sentence(line)
        counts["sentences"] += 1
        ids = waiting.get(tuple(tokenize(sentence)))
        if not ids:
            counts["sentences_unmatched"] += 1
            continue
        caption_id = ids.pop(0)
        counts["phrases_unaligned"] += unaligned
        for phrase in phrases:
            counts["phrases"] += 1
            if phrase.chain == NOT_VISUAL:
                counts["phrases_not_visual"] += 1
            elif phrase.chain not in boxes:
                counts["phrases_without_box"] += 1
            else:
                yield PhraseTruth(
                    image_id,
                    caption_id,
                    phrase.start,
                    phrase.end,
                    phrase.text,
                    phrase.kind,
                    boxes[phrase.chain],
                    *size,
                )
