"""Sentences as the word side of the alignment model reads them: ids of a vocabulary, or states of a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from vsalign.text import UNK, Vocabulary


class LanguageModel(Protocol):
    """What vsalign.language.Language is."""

    dim: int

    def identity(self) -> dict[str, Any]: ...

    def states(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]: ...


class Sentences(NamedTuple):
    """M sentences, W words in all."""

    words: Tensor
    """(M, T) int64 ids, PAD behind the end."""
    lengths: Tensor
    """(M,) int64."""
    states: Tensor | None = None
    """(W, d) float32 of each word in its sentence's context, sentence by sentence; None without a language model."""

    def to(self, device: torch.device) -> Sentences:
        """The same on a device."""
        states = self.states if self.states is None else self.states.to(device)
        return Sentences(self.words.to(device), self.lengths.to(device), states)


class SentenceReader:
    """From tokens to `Sentences`, for one model."""

    def __init__(self, vocabulary: Vocabulary, language: LanguageModel | None = None) -> None:
        self.vocabulary, self.language = vocabulary, language

    def unknown(self, tokens: Sequence[str]) -> list[str]:
        """Those that the model has no vector for, each once; a language model reads all."""
        if self.language is not None:
            return []
        numbers = self.vocabulary.encode(tokens)
        return list(dict.fromkeys(token for token, number in zip(tokens, numbers, strict=True) if number == UNK))

    def read(self, sentences: Sequence[Sequence[str]]) -> Sentences:
        """Of one sentence or more."""
        ids = [torch.tensor(self.vocabulary.encode(tokens), dtype=torch.long) for tokens in sentences]
        words = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
        lengths = torch.tensor([len(tokens) for tokens in sentences])
        if self.language is None:
            return Sentences(words, lengths)
        states = np.concatenate(self.language.states(sentences)).astype(np.float32)
        return Sentences(words, lengths, torch.from_numpy(states))
