"""CIDEr-D of word ids against pycocoevalcap's."""

from __future__ import annotations

import random
import time

import pytest

from vsalign.evaluation.cider import CiderD


def sentences(seed: int, count: int, words: int = 30) -> list[list[int]]:
    chance = random.Random(seed)
    return [[min(chance.randrange(4, 4 + words), chance.randrange(4, 40)) for _ in range(chance.randrange(1, 15))]
            for _ in range(count)]  # fmt: skip


def test_it_is_the_reference_scorer_s() -> None:
    scorer = pytest.importorskip("pycocoevalcap.cider.cider")
    references = {f"{n}.jpg": sentences(n, 1 + n % 6) for n in range(300)}
    candidates = {key: sentences(1000 + n, 1)[0] for n, key in enumerate(references)}
    candidates["7.jpg"] = references["7.jpg"][0]
    candidates["8.jpg"] = [1000, 1001]  # unknown words

    def text(ids: list[int]) -> str:
        return " ".join(map(str, ids))

    gts = {key: [text(ids) for ids in own] for key, own in references.items()}
    _, expected = scorer.Cider().compute_score(gts, {key: [text(ids)] for key, ids in candidates.items()})
    ours = CiderD(references)

    found = [ours(key, ids) for key, ids in candidates.items()]

    assert found == pytest.approx(list(expected), abs=1e-9)
    assert max(found) > 1 and found[8] == 0


def test_an_empty_sentence_scores_0_and_one_image_tells_nothing() -> None:
    ours = CiderD({"a": [[4, 5, 6], [5]], "b": [[7]]})
    assert ours("a", []) == 0
    assert CiderD({"a": [[4, 5, 6]]})("a", [4, 5, 6]) == 0  # every n-gram is in every image
    with pytest.raises(KeyError):
        ours("c", [4])


def test_a_thousand_sentences_take_no_second() -> None:
    ours = CiderD({n: sentences(n, 5) for n in range(200)})
    began = time.process_time()
    for sentence in sentences(9, 1000):
        ours(3, sentence)
    assert time.process_time() - began < 1
