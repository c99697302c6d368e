"""Training the alignment model (paper, sections 3.1 and 3.3): one loop over torch.distributed, with Ray or without."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vsalign.alignment import AlignmentLoss, AlignmentModel, AlignmentModelConfig, max_margin
from vsalign.checkpoint import save_model
from vsalign.datasets.word_vectors import read_word_vectors, vector_size
from vsalign.errors import ConfigurationError
from vsalign.evaluation.ranking import ranking_metrics
from vsalign.evaluation.retrieval import evaluate_ranking
from vsalign.storage import TableReader
from vsalign.text import Vocabulary
from vsalign.training.loop import PairSchedule, Report, train, worker
from vsalign.training.state import TrainingState, fingerprint
from vsalign.training.stream import Batch, PairStream
from vsalign.training.texts import caption_texts, captions_of


@dataclass(frozen=True, kw_only=True)
class AlignmentTraining(PairSchedule):
    """What the alignment model is trained with: SGD, the epoch kept that has the best RSUM."""

    model: AlignmentModelConfig = field(default_factory=AlignmentModelConfig)
    """Sizes of the model."""
    epochs: int = 8
    """Times that every pair is seen."""
    learning_rate: float = 6e-5
    """At its highest: it warms up over `warmup` steps, since the summed hinges diverge without, and falls to 0 along a
    cosine. Small because the objective is a sum over pairs; chosen on Flickr8k's tune split."""
    weight_decay: float = 1.0
    """L2 penalty, beside gradients of a sum over pairs. Chosen on Flickr8k's tune split: after six of eight epochs RSUM
    was 189 with 1, 180 with 0."""
    momentum: float = 0.9
    """The paper's."""
    margin: float = 1.0
    """The paper's 1."""
    word_vectors: str = ""
    """A file of word2vec's (text or binary) or GloVe's (text), of --model.word-dim numbers a word: the first vectors of
    those words of the vocabulary that it holds. Empty: random ones."""
    fix_word_vectors: bool = True
    """With --word-vectors: they stay as they are, those at random too (the paper's). Without it they learn."""
    patience: int = 4
    """Epochs without a better RSUM after which training stops."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise ConfigurationError(f"momentum is {self.momentum}: it lies in [0, 1)")
        if not self.margin > 0:
            raise ConfigurationError(f"margin is {self.margin}: it must be above 0")


@dataclass(frozen=True)
class AlignmentData:
    """The tables that the alignment model is trained on, as they travel to a worker."""

    regions: str
    captions: str


def train_alignment(
    config: AlignmentTraining, data: AlignmentData, output: str, work: Path, report: Report, resume: Path | None = None
) -> None:
    """Train, telling `report` after every epoch, and write the best epoch's model folder to `output`.

    Runs alone or as one of several torch.distributed workers; `resume` is a checkpoint folder that `report` was given.
    """
    regions, captions = TableReader(data.regions, "regions"), TableReader(data.captions, "captions")
    train_captions, validation = (captions_of(captions, name) for name in (config.train_split, config.validation_split))
    vocabulary = Vocabulary.build([caption.tokens for caption in train_captions], config.min_count)
    texts = caption_texts(train_captions, vocabulary)
    stream = PairStream(regions, texts, seed=config.seed, window_images=config.window_images)
    PairStream(regions, caption_texts(validation, vocabulary), seed=0)  # refuses at once, not after an epoch
    torch.manual_seed(config.seed)
    model = AlignmentModel(stream.dim, len(vocabulary), config.model)
    model.regions.standardise(*stream.statistics())
    vectors = word_vectors(config, vocabulary)
    if vectors:
        model.sentences.set_word_vectors(vectors, fixed=config.fix_word_vectors)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(
        learning, config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    state = TrainingState(model, optimiser, fingerprint(config, data, vocabulary, stream))
    if resume is not None:
        state.load(resume)
    loss = AlignmentLoss(partial(max_margin, margin=config.margin), model.score)

    def cost(trained: nn.Module, batch: Batch) -> Tensor:
        v, s = trained(batch.features, batch.words, batch.lengths)
        return loss(v, batch.region_mask, s, batch.lengths, batch.image_keys, batch.text_keys)

    def validate() -> tuple[float, dict[str, float]]:
        ranking = evaluate_ranking(model, regions, validation, vocabulary)
        return ranking.rsum, ranking_metrics(ranking)

    train(config, state, stream, cost, validate, work, report)
    if worker()[0] == 0:
        training = {
            "configuration": asdict(config),
            "words_with_vectors": len(vectors),
            "best_epoch": state.best_epoch,
            "history": state.history,
        }
        save_model(output, "alignment", model, vocabulary, regions.properties["extractor"], training)


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
