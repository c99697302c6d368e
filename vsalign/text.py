"""Sentences as words, and words as numbers (paper.md section 7: lower-case, no punctuation, words seen >= 5
times).

Nothing here knows languages: a run of letters without a gap (Chinese, Japanese, Thai) is one token. A text
without letters or digits ("...", emoji) has no tokens at all; who reads captions counts those
(Reason.NO_WORDS).
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from typing import Final

from vsalign.errors import ConfigurationError, ModelError

PAD: Final = 0
START: Final = 1
END: Final = 2
UNK: Final = 3
SPECIAL_WORDS: Final = ("<pad>", "<start>", "<end>", "<unk>")
"""Names of ids 0 to 3; `tokenize` never gives one, since it splits at < and >."""

_ASCII_WORDS = re.compile(r"[a-z0-9]+")


def tokenize(text: str) -> list[str]:
    """The words of a sentence: lower-case, NFC, cut where is neither letter nor digit (paper section 7).

    Marks that follow a letter belong to its word (Arabic and Hindi vowel signs, accents without a composed
    form). `str.lower`, not `casefold`: the words are shown to people again, and casefold would turn "straße"
    to "strasse". Tokenizing the words joined by blanks gives the same words.
    """
    if text.isascii():
        return _ASCII_WORDS.findall(text.lower())
    # NFC twice: lower-casing can leave a letter and a mark that have a composed form.
    lowered = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    words: list[str] = []
    current: list[str] = []
    for character in lowered:
        if character.isalnum() or (current and _is_mark(character)):
            current.append(character)
        elif current:
            words.append("".join(current))
            current = []
    if current:
        words.append("".join(current))
    return words


def _is_mark(character: str) -> bool:
    """A combining mark of a word; not a variation selector or keycap, which make emoji of digits."""
    return unicodedata.category(character) in ("Mn", "Mc") and not 0xFE00 <= ord(character) <= 0xFE0F


class Vocabulary:
    """Words and their ids: PAD, START, END, UNK are 0 to 3, then the most frequent word. Never changes.

    Raises ModelError where a word is no text, is given twice, or takes a special name.
    """

    __slots__ = ("__dict__", "_ids", "_words")

    def __init__(self, words: Sequence[str]) -> None:
        self._words: tuple[str, ...] = SPECIAL_WORDS + tuple(words)
        for word in self._words:
            if not isinstance(word, str) or not word:
                raise ModelError(f"the vocabulary holds {word!r}, which is no word; build it again from the captions.")
        self._ids = {word: number for number, word in enumerate(self._words)}
        if len(self._ids) != len(self._words):
            twice = next(word for word, count in Counter(self._words).items() if count > 1)
            raise ModelError(f"the vocabulary holds the word {twice!r} twice; build it again from the captions.")

    @classmethod
    def build(cls, token_lists: Iterable[Sequence[str]], min_count: int = 5) -> Vocabulary:
        """The vocabulary of tokenized sentences: words seen >= min_count times (5: paper section 7).

        Sorted by count, falling, then by word, so that the order of the sentences does not matter.
        Raises ConfigurationError where min_count < 1 or no word is left.
        """
        if min_count < 1:
            raise ConfigurationError(f"min_count is {min_count}; a word is kept when seen 1 time or more often.")
        counts = Counter(chain.from_iterable(token_lists))
        kept = [(-count, word) for word, count in counts.items() if count >= min_count]
        if not kept:
            raise ConfigurationError(
                f"none of {len(counts)} different words was seen {min_count} times; give more captions of "
                "the training split, or a smaller min_count."
            )
        return cls([word for _, word in sorted(kept)])

    def __len__(self) -> int:
        """Number of ids, the four special ones included: the width of the softmax."""
        return len(self._words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._words == other._words

    def __hash__(self) -> int:
        return hash(self._words)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} words, sha256 {self.sha256[:12]})"

    @property
    def words(self) -> tuple[str, ...]:
        """All words in the order of their ids, the four special ones first."""
        return self._words

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """Ids of tokens, one each; UNK for a word that is not here. START and END are not added."""
        return [self._ids.get(token, UNK) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Words of ids up to the first END; PAD, START and UNK give none: no special name is ever in a text.

        Raises ModelError on an id that is not in the vocabulary.
        """
        words: list[str] = []
        for number in map(int, ids):
            if not 0 <= number < len(self._words):
                raise ModelError(
                    f"word id {number} is not in the vocabulary of {len(self)} words; "
                    "use the vocabulary that the model was trained with."
                )
            if number == END:
                break
            if number > UNK:
                words.append(self._words[number])
        return words

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) over the words in order: equal size in another order has another hash."""
        return hashlib.sha256(json.dumps(self._words, ensure_ascii=True).encode("ascii")).hexdigest()

    def to_json(self) -> str:
        """The vocabulary as JSON text (words without the special ones, and the hash), for a model folder."""
        content = {"words": self._words[len(SPECIAL_WORDS) :], "sha256": self.sha256}
        return json.dumps(content, ensure_ascii=False, indent=0) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """The vocabulary that `to_json` wrote; raises ModelError where it was altered or is none."""
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ModelError(f"the vocabulary is not JSON ({error}); copy the model folder again.") from error
        words = content.get("words") if isinstance(content, dict) else None
        if not isinstance(words, list):
            raise ModelError('the vocabulary JSON has no list "words"; copy the model folder again.')
        vocabulary = cls(words)
        if content.get("sha256") != vocabulary.sha256:
            raise ModelError(
                f"the vocabulary's words have the SHA-256 {vocabulary.sha256}, but its file says "
                f"{content.get('sha256')}; it was edited, so copy the model folder again."
            )
        return vocabulary
