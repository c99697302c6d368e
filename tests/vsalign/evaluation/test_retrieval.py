"""What an alignment model makes of a split, against plain loops over images, sentences and phrases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vsalign.alignment import AlignmentModel, AlignmentModelConfig, SentenceReader, annotate
from vsalign.alignment.annotate import Annotator
from vsalign.alignment.placing import MeanBoxes, Placing
from vsalign.errors import ConfigurationError
from vsalign.evaluation import retrieval
from vsalign.evaluation.ranking import rank, ranking_metrics
from vsalign.evaluation.retrieval import evaluate_ranking, phrase_boxes, phrase_regions, score_matrix
from vsalign.storage import TableReader
from vsalign.text import Vocabulary
from vsalign.training.texts import Caption

VOCABULARY = Vocabulary(["a", "dog", "cat", "runs", "sits"])
READER = SentenceReader(VOCABULARY)
DIM = 5


@dataclass(frozen=True)
class World:
    """A random model, images with 1 to 5 regions, and captions of some of them."""

    model: AlignmentModel
    regions: TableReader
    features: dict[str, np.ndarray]
    captions: list[Caption]

    def v(self, image_id: str) -> Tensor:
        with torch.no_grad():
            return self.model.regions(torch.from_numpy(self.features[image_id].astype(np.float32)))

    def s(self, caption: Caption) -> Tensor:
        ids = torch.tensor([VOCABULARY.encode(caption.tokens)])
        with torch.no_grad():
            return self.model.sentences(ids, torch.tensor([len(caption.tokens)]))


@pytest.fixture
def world(tmp_path: Path, write_regions: Callable[..., str]) -> World:
    torch.manual_seed(0)
    model = AlignmentModel(DIM, len(VOCABULARY), AlignmentModelConfig(h=8, hidden=6, word_dim=4)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    rng = np.random.default_rng(1)
    features = {f"{n}.jpg": rng.standard_normal((n % 5 + 1, DIM)).astype(np.float16) for n in range(9)}
    items = list(features.items())
    url = write_regions(tmp_path / "regions", [dict(items[:4]), dict(items[4:])])
    words = VOCABULARY.words[4:] + ("unseen",)
    captions = [
        Caption(image_id, f"{image_id}#{k}", "", [str(w) for w in rng.choice(words, rng.integers(1, 7))])
        for image_id in ("1.jpg", "8.jpg", "3.jpg", "5.jpg", "absent.jpg")
        for k in range(3)
    ]
    captions.append(Caption("3.jpg", "3.jpg#empty", "...", []))
    return World(model, TableReader(url, "regions"), features, captions)


@pytest.mark.parametrize(("sentences", "images"), [(512, 256), (2, 3), (1, 1)])
def test_every_image_is_scored_with_every_sentence(
    world: World, monkeypatch: pytest.MonkeyPatch, sentences: int, images: int
) -> None:
    monkeypatch.setattr(retrieval, "SENTENCES", sentences)
    monkeypatch.setattr(retrieval, "IMAGES", images)
    world.model.train()  # it must be put to evaluation: no dropout

    scores, image_ids, used = score_matrix(world.model, world.regions, world.captions, READER)

    assert not world.model.training
    assert image_ids == ["1.jpg", "8.jpg", "3.jpg", "5.jpg"]
    assert used == [c for c in world.captions if c.tokens and c.image_id != "absent.jpg"]
    for row, image_id in enumerate(image_ids):
        for column, caption in enumerate(used):
            products = world.v(image_id) @ world.s(caption).t()
            assert scores[row, column] == pytest.approx(float(products.max(0).values.sum()), abs=1e-4)


def test_the_ranking_is_that_of_the_scores_by_id(world: World) -> None:
    scores, image_ids, used = score_matrix(world.model, world.regions, world.captions, READER)

    found = evaluate_ranking(world.model, world.regions, world.captions, READER)

    assert found == rank(scores, image_ids, [caption.image_id for caption in used])
    figures = ranking_metrics(found)
    assert figures["annotation_r5"] == found.annotation.recall[5]
    assert figures["search_r1"] == found.search.recall[1]
    assert figures["rsum"] == found.rsum
    assert len(figures) == 7


def test_captions_of_no_image_at_all_are_refused(world: World) -> None:
    with pytest.raises(ConfigurationError, match="are both tables of the same images"):
        evaluate_ranking(world.model, world.regions, world.captions[12:15], READER)


@pytest.mark.parametrize("pairs", [256, 2])
def test_a_phrase_goes_to_the_region_that_fits_its_words_best(
    world: World, monkeypatch: pytest.MonkeyPatch, pairs: int
) -> None:
    monkeypatch.setattr(annotate, "PAIRS_A_BATCH", pairs)
    world.model.train()
    captions = {caption.caption_id: caption for caption in world.captions}
    phrases = [
        (caption.image_id, caption.caption_id, start, end)
        for caption in reversed(world.captions)
        for start in range(len(caption.tokens))
        for end in range(start + 1, len(caption.tokens) + 1)
    ]

    annotator = Annotator(world.model, READER, Placing(unary="products"))
    found, joined = phrase_regions(annotator, world.regions, captions, phrases, [0.0, 1e9])

    expected = []
    for image_id, caption_id, start, end in phrases:
        if image_id == "absent.jpg":
            expected.append(-1)
            continue
        s = world.s(captions[caption_id])[start:end]
        sums = [sum(float(region @ word) for word in s) for region in world.v(image_id)]
        expected.append(sums.index(max(sums)))
    assert found == expected
    assert len(set(found)) > 3
    # One region a sentence: that of the phrase which is the whole of it, the last that begins at its first word.
    whole = {phrase[1]: region for phrase, region in zip(phrases, found, strict=True) if phrase[2] == 0}
    assert joined == [whole[caption_id] for _, caption_id, *_ in phrases]


@pytest.mark.parametrize("unary", ["products", "overlap"])
def test_a_phrase_behind_the_end_of_its_cut_sentence_gets_no_region(world: World, unary: str) -> None:
    caption, longer = world.captions[0], max(world.captions[:12], key=lambda caption: len(caption.tokens))
    end = len(caption.tokens)
    assert len(longer.tokens) > end
    places = [(end, end + 2), (0, end), (0, end + 3)]

    (found,) = phrase_regions(
        Annotator(world.model, READER, Placing(unary=unary)),  # type: ignore[arg-type]
        world.regions,
        {each.caption_id: each for each in (caption, longer)},
        [("1.jpg", caption.caption_id, *place) for place in places] + [("1.jpg", longer.caption_id, 0, 1)],
        [0.0],
    )

    assert found[0] == -1
    assert found[1] == found[2] >= 0  # of the words that are left, whatever the batch's longest sentence is


def test_a_phrases_mean_box_is_that_of_its_scores(world: World) -> None:
    caption, means = world.captions[0], MeanBoxes(contrast=0.5, temperature=0.7, size=0.2)
    annotator = Annotator(world.model, READER, Placing(unary="products"))
    phrases = [("1.jpg", caption.caption_id, 0, 1), ("absent.jpg", caption.caption_id, 0, 1)]
    (row,) = [
        row for batch in world.regions.batches(["image_id", "boxes"]) for row in batch.to_pylist()
        if row["image_id"] == "1.jpg"
    ]  # fmt: skip
    boxes = np.array(row["boxes"], np.float64)

    found, absent = phrase_boxes(annotator, means, world.regions, {caption.caption_id: caption}, phrases)

    products = (world.s(caption) @ world.v("1.jpg").t()).detach().double().numpy()
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    logits = (products[0] - 0.5 * products.mean(0)) / 0.7 + 0.2 * np.log(area / area[0])
    likely = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(found, likely @ boxes, rtol=1e-4)
    assert absent == -1


@pytest.mark.parametrize("wrong", [{"contrast": 1.2}, {"temperature": 0.0}, {"size": -1.0}])
def test_impossible_means_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=str(next(iter(wrong.values())))):
        MeanBoxes(**wrong)
