"""Our scorers on real captions against pycocoevalcap's figures, which golden.json keeps.

A candidate is the first caption of each of Flickr8k's 1,000 dev photographs, its references are the other four.
`python -m tests.vsalign.evaluation.test_golden FOLDER`, where Java is, has pycocoevalcap write golden.json anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.vsalign.evaluation.test_descriptions import needs_java, reference_scores
from vsalign.evaluation.cider import CiderD
from vsalign.evaluation.descriptions import evaluate_descriptions
from vsalign.evaluation.java import ptb_tokenize
from vsalign.text import Vocabulary

GOLDEN = Path(__file__).with_name("golden.json")


def human(shared: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The first caption of each dev photograph, and the others."""
    data = shared / "data" / "flickr8k"
    captions: dict[str, list[str]] = {name: [] for name in (data / "Flickr_8k.devImages.txt").read_text().split()}
    for line in (data / "Flickr8k.token.txt").read_text().splitlines():
        name, text = line.split("\t")
        if (image_id := name.partition("#")[0]) in captions:
            captions[image_id].append(text)
    return {i: own[0] for i, own in captions.items()}, {i: own[1:] for i, own in captions.items()}


@pytest.mark.shared
@needs_java
def test_a_thousand_real_captions_score_what_pycocoevalcap_says(shared: Path) -> None:
    candidates, references = human(shared)
    golden = json.loads(GOLDEN.read_text())

    measured = evaluate_descriptions(candidates, references)

    assert measured.scored == 1000
    assert {name: score / 100 for name, score in measured.scores.items()} == pytest.approx(golden, abs=1e-6)


@pytest.mark.shared
@needs_java
def test_the_reward_of_self_critical_training_is_that_cider(shared: Path) -> None:
    candidates, references = human(shared)
    texts = iter(ptb_tokenize([*candidates.values(), *(text for own in references.values() for text in own)], 600.0))
    said = {image_id: next(texts).split() for image_id in candidates}
    truth = {image_id: [next(texts).split() for _ in own] for image_id, own in references.items()}
    vocabulary = Vocabulary.build([*said.values(), *(words for own in truth.values() for words in own)], 1)
    scorer = CiderD({image_id: [vocabulary.encode(words) for words in own] for image_id, own in truth.items()})

    found = [scorer(image_id, vocabulary.encode(words)) for image_id, words in said.items()]

    assert sum(found) / len(found) == pytest.approx(json.loads(GOLDEN.read_text())["CIDEr-D"], abs=1e-6)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(reference_scores(*human(Path(sys.argv[1]))), indent=1) + "\n")
