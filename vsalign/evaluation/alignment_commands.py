"""`vsalign evaluate ranking` and `grounding`: what an alignment model, or a score matrix of anybody's, is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import numpy as np

from vsalign.alignment import SentenceReader
from vsalign.alignment.annotate import Annotator
from vsalign.alignment.placing import MeanBoxes, Placing
from vsalign.checkpoint import LoadedModel, load_model
from vsalign.datasets.phrases import TruthOptions
from vsalign.datasets.records import PhraseTruth
from vsalign.errors import ConfigurationError, MissingInputError
from vsalign.evaluation.commands import boxes_and_sizes, phrases_of, write
from vsalign.evaluation.grounding import METHODS, Choice
from vsalign.evaluation.ranking import Ranking, rank_folds, ranking_metrics
from vsalign.options import parse
from vsalign.storage import TableReader
from vsalign.text import tokenize
from vsalign.training.states import Remembered
from vsalign.training.texts import Caption, captions_of


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """An alignment model and what it is measured on."""

    regions: str
    """Folder or URL of the regions table."""
    captions: str
    """Folder or URL of the captions table."""
    model: str
    """Folder of the alignment model."""
    language: str = ""
    """Folder of the sentence encoder of a model of --model.text language; empty: the packaged one."""
    split: str = "dev"
    """The captions that are measured, with their images."""
    json: str = ""
    """File that the figures are also written to."""

    def open(self) -> tuple[TableReader, list[Caption], LoadedModel]:
        """The regions, the split's captions, and the model; raises VsalignError where they do not go together."""
        regions, captions = TableReader(self.regions, "regions"), TableReader(self.captions, "captions")
        model = load_model(self.model, "alignment")
        regions.require_extractor(model.extractor, self.model)
        return regions, captions_of(captions, self.split), model


@dataclass(frozen=True, kw_only=True)
class RankingOptions(ModelOptions):
    """What `vsalign evaluate ranking` reads: --regions, --captions and --model, or --scores."""

    regions: str = ""
    captions: str = ""
    model: str = ""
    ensemble: tuple[str, ...] = ()
    """Folders of more alignment models on the same regions: the scores are the sum of all models'."""
    scores: str = ""
    """Instead of a model: a file (.npy) of scores, a row an image, a column a sentence, greater fits better. With
    --captions they are in its order, the images by their first sentence."""
    sentences_per_image: int = 5
    """Of --scores without --captions: the columns of an image, one image's after another's."""
    folds: int = 1
    """The figures are means over this many equal parts of the images: 5 for COCO 1K on the 5,000 test images."""

    def __post_init__(self) -> None:
        if bool(self.scores) == bool(self.model) or bool(self.model) != bool(self.regions):
            raise ConfigurationError("give either --regions, --captions and --model, or --scores FILE.npy")
        if self.ensemble and not self.model:
            raise ConfigurationError("--ensemble adds to the model that --model names")
        if self.model and not self.captions:
            raise ConfigurationError("--captions is missing: name the captions table")
        if self.folds < 1 or self.sentences_per_image < 1:
            raise ConfigurationError(
                f"--folds {self.folds}, --sentences-per-image {self.sentences_per_image}: give at least 1"
            )


def ranking(argv: Sequence[str] | None = None) -> int:
    """Recall at K of a split, both directions (paper, section 4.1)."""
    options = parse(
        RankingOptions, argv, prog="vsalign evaluate ranking", description="Recall at K, sentences to images and back."
    )
    result = _ranking_of_scores(options) if options.scores else _ranking_of_model(options)
    print(result)
    chance = {f"chance_{name}_r1": getattr(result, name).chance[1] for name in ("annotation", "search")}
    medians = {f"{name}_median_rank": getattr(result, name).median_rank for name in ("annotation", "search")}
    write(options.json, {**ranking_metrics(result), **medians, **chance})
    return 0


def _ranking_of_model(options: RankingOptions) -> Ranking:
    from vsalign.evaluation.retrieval import score_matrix

    regions, captions, model = options.open()
    models = [model, *(replace(options, model=folder).open()[2] for folder in options.ensemble)]
    found = (score_matrix(each.model, regions, captions, each.reader(options.language)) for each in models)
    total, image_ids, used = next(found)
    for scores, *_ in found:
        total += scores
    return rank_folds(total, image_ids, [caption.image_id for caption in used], options.folds)


def _ranking_of_scores(options: RankingOptions) -> Ranking:
    scores = _matrix(options.scores)
    if options.captions:
        table = TableReader(options.captions, "captions")
        of_captions = [caption.image_id for caption in captions_of(table, options.split)]
    else:
        of_captions = [str(column // options.sentences_per_image) for column in range(scores.shape[1])]
    image_ids = list(dict.fromkeys(of_captions))
    if scores.shape != (len(image_ids), len(of_captions)):
        of = f"the split {options.split!r}" if options.captions else f"{options.sentences_per_image} sentences an image"
        raise ConfigurationError(
            f"{options.scores} has {scores.shape[0]:,} rows and {scores.shape[1]:,} columns, which does not fit {of} "
            f"({len(image_ids):,} images, {len(of_captions):,} sentences)"
        )
    return rank_folds(scores, image_ids, of_captions, options.folds)


def _matrix(path: str) -> np.ndarray:
    """A matrix in a file, read as it is needed; raises MissingInputError or ConfigurationError."""
    try:
        matrix: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise MissingInputError(f"there is no file {path} that can be read: correct --scores ({error})") from error
    except (ValueError, EOFError) as error:
        raise ConfigurationError(f"{path} is no .npy file of numbers ({error}): write it with numpy.save") from error
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2:
        raise ConfigurationError(f"{path} is no matrix: save one of images x sentences with numpy.save")
    return matrix


@dataclass(frozen=True, kw_only=True)
class GroundingOptions(Placing, ModelOptions, TruthOptions):
    """What `vsalign evaluate grounding` reads."""

    curve: tuple[float, ...] = ()
    """Values of --beta whose figures are shown beside."""
    box: Literal["region", "mean"] = "region"
    """What a phrase's box is. region: that of the region its words are put on. mean: the mean of all regions' boxes,
    each as likely as it is liked, which does better than fixed boxes themselves."""
    mean: MeanBoxes = field(default_factory=MeanBoxes)
    """How likely."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.box == "mean" and self.curve:
            raise ConfigurationError("--curve is of --box region: the mean of boxes has no beta")


def grounding(argv: Sequence[str] | None = None) -> int:
    """How many phrases land on their true box, beside lines that need no model."""
    from vsalign.evaluation.grounding import evaluate_grounding
    from vsalign.evaluation.retrieval import phrase_boxes, phrase_regions

    options = parse(
        GroundingOptions, argv, prog="vsalign evaluate grounding", description="Phrases on their true boxes."
    )
    regions, sentences, model = options.open()
    captions = {caption.caption_id: caption for caption in sentences}
    boxes, sizes = boxes_and_sizes(regions)
    truth = phrases_of(options, captions, sizes)
    reader = model.reader(options.language)
    if reader.language is not None:
        reader = SentenceReader(reader.vocabulary, Remembered(reader.language))  # the control reads every one again
    annotator = Annotator(model.model, reader, options)
    betas = [annotator.beta, *options.curve]
    places = _places(truth, captions)

    def choices(asked: Sequence[tuple[str, str, int, int]]) -> list[list[Choice]]:
        """Of each beta."""
        if options.box == "mean":
            return [phrase_boxes(annotator, options.mean, regions, captions, asked)]
        return [list(found) for found in phrase_regions(annotator, regions, captions, asked, betas)]

    own, others = choices(places), choices(_of_other_images(places))
    results = [evaluate_grounding(truth, boxes, *found) for found in zip(own, others, strict=True)]
    how = f"a word likes a region by {annotator.placing.unary}, beta {annotator.beta:g}"
    print(how if options.box == "region" else f"the mean of boxes: {options.mean}")
    print(results[0])
    for beta, result in zip(options.curve, results[1:], strict=True):
        shown = (
            f"{name} {100 * getattr(result.total, name).iou:.1f} / {100 * getattr(result.total, name).pointing:.1f}"
            for name in ("chosen", "control")
        )
        print(f"beta {beta:<8g} R@1 / pointing  {'  '.join(shown)}")
    flat = {
        f"{name}_{measure}": getattr(getattr(results[0].total, name), measure)
        for name in METHODS
        for measure in ("iou", "pointing")
    }
    curve = [{"beta": beta, **asdict(result.total.chosen)} for beta, result in zip(betas, results, strict=False)]
    placing = asdict(annotator.placing) if options.box == "region" else asdict(options.mean)
    write(options.json, {"phrases": results[0].total.phrases, **flat, "placing": placing, "curve": curve})
    return 0


def _places(truth: Sequence[PhraseTruth], captions: dict[str, Caption]) -> list[tuple[str, str, int, int]]:
    """Of each phrase: image_id, caption_id, start and end.

    A phrase of no caption (Visual Genome's, COCO's) is a sentence of its own, which is added to `captions`.
    """
    places = []
    for number, phrase in enumerate(truth):
        caption_id, start, end = phrase.caption_id, phrase.start, phrase.end
        if not caption_id:
            caption_id, tokens = f"phrase {number}", tokenize(phrase.text)
            captions[caption_id] = Caption(phrase.image_id, caption_id, phrase.text, tokens)
            start, end = 0, len(tokens)
        places.append((phrase.image_id, caption_id, start, end))
    return places


def _of_other_images(places: Sequence[tuple[str, str, int, int]]) -> list[tuple[str, str, int, int]]:
    """Each image with any phrase of another image, in a fixed random order; with its own where there is one image."""
    order = np.random.default_rng(0).permutation(len(places)).tolist()
    others = list(places)
    for position, number in enumerate(order):
        image_id = places[number][0]
        following = (places[order[(position + step) % len(order)]] for step in range(1, len(order)))
        _, *phrase = next((place for place in following if place[0] != image_id), places[number])
        others[number] = (image_id, *phrase)
    return others
