"""Five captions a scene: whole sentences with true relations, and the words of each object's phrase in them.

A phrase always names colour and shape ("a red circle"), sometimes the size ("a large red circle"); templates,
relations and size words vary. Left, right, above and below are said only where the middle of one object lies
clearly on that side of the other's, more that way than across.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import numpy as np

from vsalign.datasets.records import CaptionRecord, PhraseTruth
from vsalign.datasets.scenes.layout import CANVAS, Scene, SceneObject, scene_random
from vsalign.text import tokenize

CAPTIONS = 5
MIN_OFFSET = 40  # px between the middles of two objects of which a relation is said
SIZE_SHARE = 0.35  # of the phrases that name the size; a guess

SIZE_WORDS = {"small": ("small", "little"), "large": ("large", "big")}
RELATION_WORDS = {
    "left": ("to the left of", "left of", "on the left side of"),
    "right": ("to the right of", "right of", "on the right side of"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "under", "lower than"),
}
PAIRS = (
    "{a} and {b}",
    "there are {a} and {b} in the picture",
    "a picture of {a} and {b}",
    "{a} appears together with {b}",
    "one can see {a} and also {b}",
)
RELATED_PAIRS = (
    "{a} is {a>b} {b}",
    "{a} lies {a>b} {b}",
    "there is {a} {a>b} {b}",
    "{a>b} {b} there is {a}",
    "{a} can be seen {a>b} {b}",
    "the picture shows {a} {a>b} {b}",
)
TRIPLES = (
    "{a}, {b} and {c}",
    "the picture shows {a}, {b} and {c}",
    "{a} together with {b} and {c}",
    "we see {a} , then {b} , and finally {c}",
)
RELATED_TRIPLES = (
    "{a} is {a>b} {b} and {a>c} {c}",
    "there is {a} {a>b} {b} , and {c} is also in the picture",
    "{a} lies {a>b} {b} , while {c} is {c>b} {b again}",
)
_SLOT = re.compile(r"\{([a-z])(?:>([a-z]))?( again)?\}")


@dataclass(frozen=True)
class SceneCaption:
    """A caption of a scene and its phrases as (object's number, start word, end word, phrase)."""

    text: str
    phrases: tuple[tuple[int, int, int, str], ...]


def relations(first: SceneObject, second: SceneObject) -> list[str]:
    """What is true of `first` as seen from `second`: at most one of left, right, above, below."""
    (x1, y1), (x2, y2) = first.centre, second.centre
    across, down = x1 - x2, y1 - y2
    if max(abs(across), abs(down)) < MIN_OFFSET:
        return []
    if abs(across) > 1.5 * abs(down):
        return ["left" if across < 0 else "right"]
    if abs(down) > 1.5 * abs(across):
        return ["above" if down < 0 else "below"]
    return []


def write_captions(scene: Scene) -> list[SceneCaption]:
    """Five different captions of two or three objects each; every object is in at least one of them."""
    rng = scene_random(scene.seed, scene.index, "words")
    mentions = [0] * len(scene.objects)
    captions: list[SceneCaption] = []
    while len(captions) < CAPTIONS:
        numbers = list(range(len(scene.objects)))
        # Those that were named least come first, so that five captions reach all six objects.
        numbers.sort(key=lambda number: (mentions[number], rng.random()))
        chosen = numbers[: rng.choice((2, 2, 3))]
        rng.shuffle(chosen)
        caption = _fill(rng, scene, chosen)
        if all(caption.text != other.text for other in captions):
            captions.append(caption)
            for number in chosen:
                mentions[number] += 1
    return captions


def _fill(rng: random.Random, scene: Scene, chosen: list[int]) -> SceneCaption:
    """One caption of the chosen objects, by a template whose relations are all true of them."""
    names = dict(zip("abc", chosen, strict=False))
    plain, related = (PAIRS, RELATED_PAIRS) if len(chosen) == 2 else (TRIPLES, RELATED_TRIPLES)
    possible = [template for template in related if _true(template, scene, names)]
    template = rng.choice(possible if possible and rng.random() < 0.75 else plain)
    text, spans = "", []
    phrases: dict[int, str] = {}
    last = 0
    for slot in _SLOT.finditer(template):
        text += template[last : slot.start()]
        last = slot.end()
        number = names[slot[1]]
        if slot[2]:
            relation = relations(scene.objects[number], scene.objects[names[slot[2]]])[0]
            text += rng.choice(RELATION_WORDS[relation])
            continue
        phrase = phrases.get(number) or _phrase(rng, scene.objects[number])
        if slot[3]:
            phrase = "the " + phrase.removeprefix("a ")
        phrases[number] = phrase
        start = len(tokenize(text))
        spans.append((number, start, start + len(tokenize(phrase)), phrase))
        text += phrase
    text += template[last:] + "."
    text = text.replace(" ,", ",")
    return SceneCaption(text[0].upper() + text[1:], tuple(spans))


def _true(template: str, scene: Scene, names: dict[str, int]) -> bool:
    return all(
        relations(scene.objects[names[slot[1]]], scene.objects[names[slot[2]]])
        for slot in _SLOT.finditer(template)
        if slot[2]
    )


def _phrase(rng: random.Random, item: SceneObject) -> str:
    words = [item.colour, item.shape]
    if rng.random() < SIZE_SHARE:
        words.insert(0, rng.choice(SIZE_WORDS[item.size]))
    return " ".join(["a", *words])


def caption_records(scene: Scene, captions: list[SceneCaption], split: str) -> list[CaptionRecord]:
    """The captions as a captions file would give them; line 0."""
    return [
        CaptionRecord(scene.image_id, f"{scene.image_id}#{number}", split, caption.text, 0)
        for number, caption in enumerate(captions)
    ]


def phrase_truths(scene: Scene, captions: list[SceneCaption]) -> list[PhraseTruth]:
    """Every phrase of the captions with the box (1, 4) of its object; kind is the shape."""
    return [
        PhraseTruth(
            scene.image_id,
            f"{scene.image_id}#{position}",
            start,
            end,
            phrase,
            scene.objects[number].shape,
            np.asarray([scene.objects[number].box], np.float32),
            CANVAS,
            CANVAS,
        )
        for position, caption in enumerate(captions)
        for number, start, end, phrase in caption.phrases
    ]
