"""What an index is asked: a sentence, or a place in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vsalign.checkpoint import LoadedModel
from vsalign.datasets.files import file_name, open_bytes
from vsalign.errors import ConfigurationError, InputError
from vsalign.images import DecodeOptions, decode_sized
from vsalign.regions import ExtractorFiles, RegionExtractor, extractor_of, to_float16
from vsalign.search.exact import Asked
from vsalign.search.space import Space
from vsalign.text import tokenize

MOST_WORDS = 64
"""Words of a sentence that count; a guess that no sentence of people needs more."""


@dataclass(frozen=True)
class Query:
    """A sentence, or a place in a picture, in the space of an index."""

    asked: Asked
    tokens: tuple[str, ...] = ()
    """The words, in order; none for a place."""
    unknown: tuple[str, ...] = ()
    """Of them, those that the model does not know."""


class Asker:
    """Reads sentences and places for an index's model."""

    def __init__(self, model: LoadedModel, space: Space, language: str = "", files: ExtractorFiles | None = None):
        """language: folder of the sentence encoder of a model that needs one; files: of the extractor, for places."""
        self.model, self.space, self.files = model, space, files or ExtractorFiles()
        self.reader = model.reader(language)
        self._extractor: RegionExtractor | None = None

    @torch.inference_mode()
    def sentence(self, text: str) -> Query:
        """Raises ConfigurationError where it has no word, or none that the model knows."""
        tokens = tokenize(text)[:MOST_WORDS]
        if not tokens:
            raise ConfigurationError("the sentence has no words: say what the picture shows")
        unknown = self.reader.unknown(tokens)
        if len(unknown) == len(set(tokens)):
            raise ConfigurationError(
                f"the model knows none of these words ({', '.join(dict.fromkeys(tokens))}): say it in others"
            )
        sentences = self.reader.read([tokens])
        words = self.space.words(self.model.model.sentences(*sentences).float())
        config = self.model.model.config
        asked = Asked(words, config.normalise or config.score == "symmetric", config.score == "symmetric")
        return Query(asked, tuple(tokens), tuple(unknown))

    def place(self, picture: str, box: Sequence[float] = ()) -> Query:
        """A box (x1, y1, x2, y2 in px of the upright picture; none: the whole of it) of a picture, a file or URL.

        Raises MissingInputError where there is no picture, ConfigurationError where it or the box cannot be used.
        """
        with open_bytes(picture) as file:
            data = file.read()
        return self.place_in(data, picture, box)

    @torch.inference_mode()
    def place_in(self, data: bytes, name: str, box: Sequence[float] = ()) -> Query:
        """The same of a picture's bytes; name: for messages."""
        extractor = self._extractor = self._extractor or extractor_of(self.model.extractor, self.files)
        try:
            pixels, size = decode_sized(data, name, DecodeOptions(least_side=extractor.least_side))
            wanted = _inside(box, size)
            prepared = extractor.prepare(file_name(name), pixels, size)
            found = extractor.at(prepared, wanted[None])
            features = to_float16(found.features, name)
        except InputError as error:
            raise ConfigurationError(f"{error.message} ({error.reason})") from error
        v = self.model.model.regions(torch.from_numpy(features))
        return Query(Asked(self.space.words(v), mean=True, symmetric=False))


def _inside(box: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """(4,) float32 within a picture of that size, px."""
    limit = np.array([*size, *size], np.float32)
    if not len(box):
        return np.array([0, 0, *size], np.float32)
    asked = np.asarray(box, np.float32)
    inside = np.clip(asked, 0, limit)
    if len(asked) != 4 or not np.isfinite(asked).all() or not (inside[2:] > inside[:2]).all():
        raise ConfigurationError(
            f"--box {','.join(f'{side:g}' for side in box)}: give x1,y1,x2,y2 in px, x1 < x2 and y1 < y2, within the "
            f"{size[0]} x {size[1]} picture"
        )
    return inside
