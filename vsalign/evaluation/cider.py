"""CIDEr-D of many sentences against references that stay: what self-critical training is paid by.

Vedantam et al., "CIDEr: Consensus-based Image Description Evaluation" (CVPR 2015), as pycocoevalcap computes it, but
for sentences one at a time and document frequencies that are taken once.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

LONGEST, SIGMA = 4, 6.0
"""n-grams of 1 to LONGEST words; the width of the penalty on lengths, in words."""
Gram = tuple[int, ...]


class CiderD:
    """CIDEr-D against the references of many images, sentences being word ids.

    references: of each image; their document frequencies are the number of images whose references have an n-gram.
    """

    def __init__(self, references: Mapping[Hashable, Sequence[Sequence[int]]]) -> None:
        counted = {key: [grams(sentence) for sentence in sentences] for key, sentences in references.items()}
        frequencies: Counter[Gram] = Counter()
        for of_image in counted.values():
            frequencies.update({gram for sentence in of_image for gram in sentence})
        self._log_images = math.log(len(references)) if references else 0.0
        self._rarity = {gram: self._log_images - math.log(count) for gram, count in frequencies.items()}
        self._images = {key: self._image(of_image) for key, of_image in counted.items()}

    def __call__(self, key: Hashable, sentence: Sequence[int]) -> float:
        """CIDEr-D, 0 to 10, of a sentence of that image; raises KeyError for an image without references."""
        found, norms, lengths = self._images[key]
        own = grams(sentence)
        products = np.zeros((LONGEST, len(lengths)))
        squares = [0.0] * LONGEST
        length = 0
        for gram, count in own.items():
            value = count * self._rarity.get(gram, self._log_images)
            size = len(gram) - 1
            squares[size] += value * value
            length += count if size == 1 else 0
            for reference, theirs in found.get(gram, ()):
                products[size, reference] += min(value, theirs) * theirs
        own_norms = np.sqrt(squares)[:, None]
        both = own_norms * norms
        cosines = np.divide(products, both, out=products, where=both != 0)
        penalty = np.exp(-((length - lengths) ** 2) / (2 * SIGMA**2))
        return float((cosines * penalty).mean(0).mean() * 10)

    def _image(
        self, counted: Sequence[Counter[Gram]]
    ) -> tuple[dict[Gram, list[tuple[int, float]]], np.ndarray, np.ndarray]:
        """Of each n-gram the references that have it, with its weight there; norms (LONGEST, n); lengths (n,)."""
        found: dict[Gram, list[tuple[int, float]]] = defaultdict(list)
        squares, lengths = np.zeros((LONGEST, len(counted))), np.zeros(len(counted))
        for reference, sentence in enumerate(counted):
            for gram, count in sentence.items():
                value = count * self._rarity[gram]
                found[gram].append((reference, value))
                squares[len(gram) - 1, reference] += value * value
                lengths[reference] += count if len(gram) == 2 else 0
        return dict(found), np.sqrt(squares), lengths


def grams(sentence: Sequence[int]) -> Counter[Gram]:
    """How often each n-gram of 1 to LONGEST words is in a sentence."""
    words = tuple(sentence)
    return Counter(words[i : i + n] for n in range(1, LONGEST + 1) for i in range(len(words) - n + 1))
