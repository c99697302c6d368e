"""Captions and segments as the texts that a stream pairs with regions; small, so they travel whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vsalign.errors import ConfigurationError, TableError
from vsalign.storage import TableReader
from vsalign.text import Vocabulary
from vsalign.training.stream import Text, key_of


@dataclass(frozen=True)
class Caption:
    """A sentence of an image."""

    image_id: str
    caption_id: str
    text: str
    tokens: list[str]


def captions_of(table: TableReader, split: str) -> list[Caption]:
    """The captions of a split, in the table's order; raises ConfigurationError, naming all splits, if there is none."""
    found: list[Caption] = []
    splits: Counter[str] = Counter()
    for batch in table.batches():
        for row in batch.to_pylist():
            splits[row["split"]] += 1
            if row["split"] == split:
                found.append(Caption(row["image_id"], row["caption_id"], row["text"], row["tokens"]))
    if not found:
        raise ConfigurationError(
            f"{table.url} has no captions of the split {split!r}: it has "
            + (", ".join(f"{name} ({count})" for name, count in sorted(splits.items())) or "none at all")
        )
    return found


def caption_texts(
    captions: Iterable[Caption], vocabulary: Vocabulary, states: Mapping[str, np.ndarray] | None = None
) -> dict[str, list[Text]]:
    """The captions of each image as word ids; those without a word are left out. states: of each caption_id."""
    texts: dict[str, list[Text]] = {}
    for caption in captions:
        if caption.tokens:
            own = states[caption.caption_id] if states is not None else None
            text = Text(vocabulary.encode(caption.tokens), 0, key_of(" ".join(caption.tokens)), own)
            texts.setdefault(caption.image_id, []).append(text)
    return texts


_JOINING_TEXT = """
about above across after against along among and are as at be before behind being below beneath beside between by down
during for from had has have if in inside into is like near of off on onto or out outside over past than that through to
toward towards under until up upon was were where which while who with within without
"""
_BEFORE_NOUNS_TEXT = """
a an another each every four her his its many my one our several some the their these this those three two your
"""
JOINING = frozenset(_JOINING_TEXT.split())
"""English words that join parts of a sentence."""
BEFORE_NOUNS = frozenset(_BEFORE_NOUNS_TEXT.split())
"""English words that wait for a noun."""


@dataclass(frozen=True, kw_only=True)
class PhraseRules:
    """Which inferred phrases are learned, and how much of them."""

    trim: Literal["", "english"] = ""
    """english: words such as "in", "of" and "is" are cut off both ends of inferred phrases, "a", "the" and "two" off
    their end. Empty: phrases stay as they are."""
    min_phrase: int = 1
    """Inferred phrases of fewer words are left out."""
    max_phrase: int = 0
    """Inferred phrases of more words are left out; 0: none."""

    def __post_init__(self) -> None:
        if self.min_phrase < 1 or 0 != self.max_phrase < self.min_phrase:
            raise ConfigurationError(
                f"min_phrase is {self.min_phrase} and max_phrase {self.max_phrase}: give the first at least 1, and the "
                "second no less, or 0"
            )

    @property
    def said(self) -> str:
        """The rules in words."""
        trimmed = f", trimmed as {self.trim}," if self.trim else ""
        most = f" to {self.max_phrase} words" if self.max_phrase else " words or more"
        return f"of {self.min_phrase}{most}{trimmed}"

    def learned(self, words: list[str]) -> list[str]:
        """What is learned of a phrase's words; none where it is left out."""
        if self.trim:
            first, last = 0, len(words)
            while last and words[last - 1] in JOINING | BEFORE_NOUNS:
                last -= 1
            while first < last and words[first] in JOINING:
                first += 1
            words = words[first:last]
        return words if self.min_phrase <= len(words) <= (self.max_phrase or len(words)) else []


def inferred_phrases(
    segments: TableReader, captions: Iterable[Caption], rules: PhraseRules
) -> Iterator[tuple[str, int, list[str]]]:
    """Image, region and words of each inferred phrase of the captions given, in the segments table's order.

    Raises TableError where a segment is not of its caption's words.
    """
    tokens = {(caption.image_id, caption.caption_id): caption.tokens for caption in captions}
    for batch in segments.batches():
        for row in batch.to_pylist():
            sentence = tokens.get((row["image_id"], row["caption_id"]), [])
            for segment in row["segments"] if sentence else ():
                start, end = segment["start"], segment["end"]
                if not 0 <= start < end <= len(sentence):
                    raise TableError(
                        f"{segments.url}: the caption {row['caption_id']} has a segment of its words {start} to {end}, "
                        f"but {len(sentence)} words: align the segments of these captions again"
                    )
                if words := rules.learned(sentence[start:end]):
                    yield row["image_id"], segment["region"], words


def phrase_texts(
    segments: TableReader, captions: Iterable[Caption], vocabulary: Vocabulary, rules: PhraseRules
) -> dict[str, list[Text]]:
    """The inferred phrases of each image with their regions, for the captions given (paper, section 3.2.1).

    Raises ConfigurationError where no caption has any, and TableError where one is not of its caption's words.
    """
    texts: dict[str, list[Text]] = {}
    for image_id, region, words in inferred_phrases(segments, captions, rules):
        text = Text(vocabulary.encode(words), region, key_of(" ".join(words)))
        texts.setdefault(image_id, []).append(text)
    if not texts:
        raise ConfigurationError(
            f"no phrase of {segments.url} {rules.said} belongs to a caption of the split: are both tables of the same "
            "captions?"
        )
    return texts
