"""One door to phrases with their true boxes: rendered scenes' phrases.jsonl, or Flickr30k Entities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from vsalign.datasets.entities import Captions, Sizes, read_entities
from vsalign.datasets.records import PhraseTruth, Reading
from vsalign.datasets.scenes import read_phrases


def read_truth(path: str, captions: Captions, sizes: Sizes, rescale: bool = False) -> Reading[PhraseTruth]:
    """The phrases of the given captions with their boxes, in the px of pictures of these sizes.

    path: a phrases.jsonl, or the folder or zip of Flickr30k Entities (`read_entities` says what `rescale` is for).
    captions: image_id -> its (caption_id, text). Raises MissingInputError.
    """
    if path.endswith(".jsonl"):
        wanted = {caption_id for own in captions.values() for caption_id, _ in own}
        phrases = (phrase for phrase in read_phrases(path) if phrase.caption_id in wanted)
        return Reading("scenes", phrases, Counter())
    return read_entities(path, captions, sizes, rescale)


def by_image(captions: Sequence[tuple[str, str, str]]) -> Mapping[str, Sequence[tuple[str, str]]]:
    """Captions given as (image_id, caption_id, text), gathered by image in their order."""
    gathered: dict[str, list[tuple[str, str]]] = {}
    for image_id, caption_id, text in captions:
        gathered.setdefault(image_id, []).append((caption_id, text))
    return gathered
