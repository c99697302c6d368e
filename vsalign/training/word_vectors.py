"""What a model's own words begin with: word2vec's or GloVe's vectors, or a teacher's states reduced to word vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from vsalign.checkpoint import LoadedModel, load_model
from vsalign.datasets.word_vectors import read_word_vectors, vector_size
from vsalign.errors import ConfigurationError
from vsalign.storage import TableReader
from vsalign.text import Vocabulary
from vsalign.training.stream import Text

if TYPE_CHECKING:
    from vsalign.training.alignment import AlignmentTraining


def word_vectors(config: AlignmentTraining, vocabulary: Vocabulary) -> dict[int, np.ndarray]:
    """The vector (word_dim,) of each word's id that `config.word_vectors` holds; empty where no file is named.

    Raises ConfigurationError where the file's vectors are of another size, or it holds no word of the vocabulary.
    """
    if not config.word_vectors:
        return {}
    require_word_dim(config)
    found = read_word_vectors(config.word_vectors, vocabulary.words)
    if not found:
        raise ConfigurationError(f"{config.word_vectors} holds none of the {len(vocabulary)} words of the vocabulary")
    ids = vocabulary.encode(list(found))
    return dict(zip(ids, found.values(), strict=True))


def require_word_dim(config: AlignmentTraining) -> None:
    """Raise ConfigurationError unless the vectors of `config.word_vectors`, if any, are of the model's size."""
    size = vector_size(config.word_vectors) if config.word_vectors else config.model.word_dim
    if size != config.model.word_dim:
        raise ConfigurationError(
            f"{config.word_vectors} holds vectors of {size} numbers, word_dim is {config.model.word_dim}: "
            f"give --model.word-dim {size}"
        )


def teacher_of(config: AlignmentTraining, regions: TableReader) -> LoadedModel:
    """The teacher; raises VsalignError where it is of other regions, or of another joint space than the model's."""
    teacher = load_model(config.teacher, "alignment")
    regions.require_extractor(teacher.extractor, f"the teacher {config.teacher}")
    known = teacher.model.config
    if known.text != "language":
        raise ConfigurationError(
            f"the teacher {config.teacher} reads no sentence encoder's states: train it by --recipe best"
        )
    wanted = {"h": known.h, "normalise": known.normalise, "score": known.score, "residual": known.residual}
    for name, value in wanted.items():
        if getattr(config.model, name) != value:
            raise ConfigurationError(
                f"the teacher's {name} is {value}, the model's {getattr(config.model, name)}: they must be the same"
            )
    if config.model.word_dim != known.state_dim:
        raise ConfigurationError(
            f"the first word vectors are the teacher's mean states, of {known.state_dim} numbers, word_dim is "
            f"{config.model.word_dim}: give --model.word-dim {known.state_dim}"
        )
    return teacher


def mean_states(texts: Mapping[str, Sequence[Text]]) -> dict[int, np.ndarray]:
    """Of each word's id in texts with states, their mean (d,) float32: words in context reduced to word vectors."""
    sums: dict[int, np.ndarray] = {}
    counts: Counter[int] = Counter()
    for text in chain.from_iterable(texts.values()):
        if text.states is not None:
            counts.update(text.words)
            for word, state in zip(text.words, text.states.astype(np.float32), strict=True):
                sums[word] = sums[word] + state if word in sums else state
    return {word: total / counts[word] for word, total in sums.items()}
