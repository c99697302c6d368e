"""A frozen sentence encoder's states, computed once a run: those of the training captions in a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from vsalign.alignment import LanguageModel
from vsalign.storage.layout import TEMPORARY_SUFFIX
from vsalign.training.texts import Caption

CAPTIONS_AT_ONCE = 4096


def states_in_file(language: LanguageModel, captions: Sequence[Caption], folder: Path) -> dict[str, np.ndarray]:
    """(n, d) float16 of each caption_id, mapped from a file in `folder`, 2 d bytes a word.

    The file's name says whose states of which sentences it holds: one that is there is read, else it is written.
    """
    used = [caption for caption in captions if caption.tokens]
    ends = list(accumulate(len(caption.tokens) for caption in used))
    if not used:
        return {}
    made_of = repr((language.identity(), [caption.tokens for caption in used]))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"states-{hashlib.sha256(made_of.encode()).hexdigest()[:32]}.npy"
    if not file.exists():
        _write(language, used, ends, file)
    mapped = np.load(file, mmap_mode="r")
    return {
        caption.caption_id: mapped[end - len(caption.tokens) : end] for caption, end in zip(used, ends, strict=True)
    }


def _write(language: LanguageModel, used: Sequence[Caption], ends: Sequence[int], file: Path) -> None:
    """Write the states of captions with words, which end at such rows; the file appears whole."""
    unfinished = file.with_name(f"{file.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    rows: Any = np.lib.format.open_memmap(unfinished, "w+", np.float16, (ends[-1], language.dim))
    for start in range(0, len(used), CAPTIONS_AT_ONCE):
        some = used[start : start + CAPTIONS_AT_ONCE]
        found = np.concatenate(language.states([caption.tokens for caption in some]))
        rows[ends[start] - len(used[start].tokens) : ends[start + len(some) - 1]] = found
    rows.flush()
    os.replace(unfinished, file)


class Remembered:
    """A language model that keeps in memory what it was asked for: validation asks for the same every epoch."""

    def __init__(self, language: LanguageModel) -> None:
        self._language, self.dim = language, language.dim
        self._known: dict[tuple[str, ...], np.ndarray] = {}

    def identity(self) -> dict[str, Any]:
        return self._language.identity()

    def states(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        keys = [tuple(sentence) for sentence in sentences]
        new = list(dict.fromkeys(key for key in keys if key not in self._known))
        self._known.update(self._of(new))
        return [self._known[key] for key in keys]

    def _of(self, new: list[tuple[str, ...]]) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
        return zip(new, self._language.states(new), strict=True) if new else iter(())
