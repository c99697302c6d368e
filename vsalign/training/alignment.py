"""Training the alignment model (paper, sections 3.1 and 3.3): one loop over torch.distributed, with Ray or without."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from vsalign.alignment import AlignmentModel, AlignmentModelConfig, MaxMarginLoss
from vsalign.checkpoint import save_model
from vsalign.errors import ConfigurationError
from vsalign.evaluation.retrieval import evaluate_ranking, ranking_metrics
from vsalign.storage import TableReader
from vsalign.text import Vocabulary
from vsalign.training.loop import Report, train, worker
from vsalign.training.state import TrainingState, fingerprint
from vsalign.training.stream import Batch, PairStream
from vsalign.training.texts import caption_texts, captions_of


@dataclass(frozen=True)
class AlignmentTraining:
    """What the alignment model is trained with."""

    model: AlignmentModelConfig = field(default_factory=AlignmentModelConfig)
    """Sizes of the model."""
    epochs: int = 12
    """Times that every pair is seen."""
    batch_size: int = 100
    """Pairs a step, over all workers (the paper's 100)."""
    learning_rate: float = 0.001
    """Of SGD, at its highest; it warms up over `warmup` steps and falls to 0 along a cosine."""
    momentum: float = 0.9
    """The paper's."""
    weight_decay: float = 0.0
    """The paper cross-validates it."""
    warmup: int = 200
    """Steps in which the learning rate rises from 0: the summed hinges diverge without."""
    margin: float = 1.0
    """The paper's 1."""
    clip: float = 5.0
    """Gradients are clipped element-wise at this value (the paper's 5)."""
    min_count: int = 5
    """Words seen less often in training are UNK (the paper's 5)."""
    train_split: str = "train"
    """The split that is learned from; the vocabulary comes from it alone."""
    validation_split: str = "tune"
    """The split whose R@K choose the epoch that is kept."""
    patience: int = 4
    """Epochs without a better RSUM after which training stops."""
    window_images: int = 8192
    """Images shuffled at a time: bounds a worker's memory."""
    seed: int = 0
    """Fixes weights, order and dropout."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "min_count", "patience", "window_images"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give at least 1")
        if not (self.learning_rate > 0 and self.clip > 0 and self.margin > 0):
            raise ConfigurationError("learning_rate, clip and margin must be above 0")
        if not (0 <= self.momentum < 1 and self.weight_decay >= 0 and self.warmup >= 0):
            raise ConfigurationError("momentum must be in [0, 1), weight_decay and warmup 0 or more")


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
    optimiser = torch.optim.SGD(
        model.parameters(), config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    state = TrainingState(model, optimiser, fingerprint(config, data, vocabulary, stream))
    if resume is not None:
        state.load(resume)
    loss = MaxMarginLoss(config.margin)

    def cost(trained: nn.Module, batch: Batch) -> Tensor:
        v, s = trained(batch.features, batch.words, batch.lengths)
        return loss(v, batch.region_mask, s, batch.lengths, batch.image_keys, batch.text_keys)

    def validate() -> tuple[float, dict[str, float]]:
        ranking = evaluate_ranking(model, regions, validation, vocabulary)
        return ranking.rsum, ranking_metrics(ranking)

    train(config, state, stream, cost, validate, work, report)
    if worker()[0] == 0:
        training = {"configuration": asdict(config), "best_epoch": state.best_epoch, "history": state.history}
        save_model(output, "alignment", model, vocabulary, regions.properties["extractor"], training)
