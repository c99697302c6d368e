"""Training the alignment model (paper, sections 3.1 and 3.3): one loop over torch.distributed, with Ray or without."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from vsalign.alignment import (
    AlignmentLoss,
    AlignmentModel,
    AlignmentModelConfig,
    SentenceReader,
    contrastive,
    hardest_negative,
    max_margin,
)
from vsalign.alignment.score import sentence_of
from vsalign.alignment.words import WordVectors
from vsalign.checkpoint import LoadedModel, save_model
from vsalign.errors import ConfigurationError
from vsalign.evaluation.ranking import ranking_metrics
from vsalign.evaluation.retrieval import evaluate_ranking
from vsalign.language import Language, states_dim
from vsalign.storage import TableReader
from vsalign.text import Vocabulary
from vsalign.training.loop import Cost, Report, Training
from vsalign.training.schedule import HERE, PairSchedule, Running
from vsalign.training.state import TrainingState, fingerprint
from vsalign.training.states import Remembered, states_in_file
from vsalign.training.stream import Batch, PairStream
from vsalign.training.texts import caption_texts, captions_of
from vsalign.training.word_vectors import mean_states, teacher_of, word_vectors
from vsalign.training.workers import worker

RECIPES = Path(__file__).with_name("recipes") / "alignment"
"""Of settings that belong together: YAML files of AlignmentTraining's fields."""


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
    objective: Literal["max_margin", "hardest_negative", "contrastive"] = "max_margin"
    """max_margin: the paper's, every wrong pair of a batch. hardest_negative: the best-scoring wrong one alone, after a
    first epoch of max_margin. contrastive: the cross-entropy of picking the right one (InfoNCE)."""
    margin: float = 1.0
    """Of the first two; the paper's 1."""
    temperature: float = 0.05
    """Of the third, for scores of vectors of length 1 (--model.normalise)."""
    optimiser: Literal["sgd", "adamw"] = "sgd"
    """sgd: the paper's, with momentum."""
    drop_words: float = 0.0
    """Share of a sentence's words that the score leaves out in training, at random."""
    drop_regions: float = 0.0
    """Share of a picture's regions, but for the whole picture, that the score leaves out in training, at random."""
    language: str = ""
    """Folder of the sentence encoder of --model.text language, as transformers saves it; empty: the packaged one."""
    teacher: str = ""
    """Folder of an alignment model of --model.text language: its regions are taken as they are, and words are learned
    from its words too, so that the model needs no sentence encoder. Of the same h, score and normalise."""
    imitation: float = 1.0
    """With --teacher: the weight of Σ_t |s_t - the teacher's s_t|², beside the objective."""
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
        for name in ("margin", "temperature"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: it must be above 0")
        for name in ("drop_words", "drop_regions"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: it lies in [0, 1)")
        if not self.imitation >= 0:
            raise ConfigurationError(f"imitation is {self.imitation}: give 0 or more")
        if self.teacher and (self.model.text == "language" or self.word_vectors):
            raise ConfigurationError(
                "with a teacher words are learned from it: give --recipe student, and no word_vectors beside"
            )
        if self.language and self.model.text != "language" and not self.teacher:
            raise ConfigurationError("language names a sentence encoder, which --model.text language reads: give both")
        if self.word_vectors and self.model.text != "brnn":
            raise ConfigurationError(
                "word_vectors are for --model.text brnn (--recipe paper): give it, or leave them out"
            )


@dataclass(frozen=True)
class AlignmentData:
    """The tables that the alignment model is trained on, as they travel to a worker."""

    regions: str
    captions: str


def train_alignment(
    config: AlignmentTraining,
    data: AlignmentData,
    output: str,
    work: Path,
    report: Report,
    resume: Path | None = None,
    running: Running = HERE,
) -> None:
    """Train, telling `report` after every epoch, and write the best epoch's model folder to `output`.

    Runs alone or as one of several torch.distributed workers; `resume` is a checkpoint folder that `report` was given.
    """
    regions, captions = TableReader(data.regions, "regions"), TableReader(data.captions, "captions")
    train_captions, validation = (captions_of(captions, name) for name in (config.train_split, config.validation_split))
    vocabulary = Vocabulary.build([caption.tokens for caption in train_captions], config.min_count)
    teacher = teacher_of(config, regions) if config.teacher else None
    language = teacher.reader(config.language).language if teacher else language_model(config)
    read = language if config.model.text == "language" else None
    reader = SentenceReader(vocabulary, Remembered(read) if read else None)
    PairStream(regions, caption_texts(validation, vocabulary), seed=0)  # refuses at once, not after an epoch
    with tempfile.TemporaryDirectory(dir=work.parent) as scratch:
        states = states_in_file(language, train_captions, Path(running.cache or scratch)) if language else None
        texts = caption_texts(train_captions, vocabulary, states)
        stream = PairStream(regions, texts, seed=config.seed, window_images=config.window_images)
        vectors = mean_states(texts) if teacher else word_vectors(config, vocabulary)
        model = new_model(config, stream, len(vocabulary), vectors, teacher, running)
        made_of = fingerprint(config, data, vocabulary, stream)
        state = TrainingState(model, optimiser_of(config, model), made_of, config.average)
        if resume is not None:
            state.load(resume)

        def validate() -> tuple[float, dict[str, float]]:
            ranking = evaluate_ranking(model, regions, validation, reader)
            return ranking.rsum, ranking_metrics(ranking)

        def told(metrics: dict[str, Any], checkpoint: Path | None) -> None:
            report({**metrics, **warned(config, metrics)}, checkpoint)

        cost = cost_of(config, model, state, teacher.model if teacher else None)
        Training(config, running, state, stream, cost, work, told).run(validate)
    if worker()[0] == 0:
        training = {"configuration": asdict(config), "words_with_vectors": len(vectors), **state.summary()}
        identity = read.identity() if read else None
        save_model(output, "alignment", model, vocabulary, regions.properties["extractor"], training, identity)


def new_model(
    config: AlignmentTraining,
    stream: PairStream,
    words: int,
    vectors: Mapping[int, np.ndarray],
    teacher: LoadedModel | None,
    running: Running,
) -> AlignmentModel:
    """The model as training begins with it, on its device: word vectors given, a teacher's regions taken over."""
    torch.manual_seed(config.seed)
    model = AlignmentModel(stream.dim, words, config.model)
    model.regions.standardise(*stream.statistics())
    if isinstance(model.sentences, WordVectors):
        model.sentences.set_word_vectors(vectors, fixed=config.fix_word_vectors and not teacher)
    if teacher:
        teacher.model.to(running.device)
        model.regions.load_state_dict(teacher.model.regions.state_dict())
        model.regions.requires_grad_(False)
    return model.to(running.device)


def cost_of(
    config: AlignmentTraining, model: AlignmentModel, state: TrainingState, teacher: AlignmentModel | None = None
) -> Cost:
    """The objective of a batch, on the model's device, and the share of its wrong pairs that score above right ones.

    With a teacher, and what the words differ from its by.
    """

    def cost(trained: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        device = model.regions.mean.device
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            v, s = trained(batch.features, batch.words, batch.lengths, batch.states)
            told: dict[str, float] = {}
            imitated = s.new_zeros(())
            if teacher is not None:
                with torch.no_grad():
                    shown = teacher.sentences(batch.words, batch.lengths, batch.states)
                imitated = (s - shown).square().sum()
                told = {"differing": float(imitated.detach()) / len(s)}
            mask, s, lengths = thinned(config, batch.region_mask, s, batch.lengths)
            loss = AlignmentLoss(objective_of(config, state.epoch), model.score)
            value = loss(v, mask, s, lengths, batch.image_keys, batch.text_keys)
        # The objective is one of all workers, this a sum over this worker's words: DDP takes the workers' mean.
        return value + config.imitation * worker()[1] * imitated, {"violating": loss.violating, **told}

    return cost


def language_model(config: AlignmentTraining) -> Language | None:
    """The sentence encoder whose states the model reads, if any; raises as `require_language`."""
    require_language(config)
    return Language(config.language) if config.model.text == "language" else None


def require_language(config: AlignmentTraining) -> None:
    """Raise VsalignError where the sentence encoder is absent, or its states are of another size than the model's."""
    size = states_dim(config.language) if config.model.text == "language" else config.model.state_dim
    if size != config.model.state_dim:
        raise ConfigurationError(
            f"the sentence encoder's states have {size} numbers, state_dim is {config.model.state_dim}: give "
            f"--model.state-dim {size}"
        )


def optimiser_of(config: AlignmentTraining, model: nn.Module) -> torch.optim.Optimizer:
    """Of the parameters that learn."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.optimiser == "adamw":
        return torch.optim.AdamW(learning, config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.SGD(learning, config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay)


def objective_of(config: AlignmentTraining, epoch: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The objective of an epoch, counted from 0."""
    if config.objective == "contrastive":
        return partial(contrastive, temperature=config.temperature)
    hardest = config.objective == "hardest_negative" and epoch > 0
    return partial(hardest_negative if hardest else max_margin, margin=config.margin)


def warned(config: AlignmentTraining, metrics: dict[str, Any]) -> dict[str, str]:
    """A warning where an epoch of hardest negatives taught nothing: all scores are alike, at a loss of 2 B margin."""
    stuck = 2 * config.batch_size * config.margin
    alike = abs(metrics.get("loss", 0.0) - stuck) < 0.01 * stuck
    if config.objective != "hardest_negative" or not metrics.get("epoch") or not alike:
        return {}
    return {
        "warning": f"the loss is 2 x batch x margin = {stuck:g}: hardest negatives have pulled all scores into one "
        "value; lower learning_rate, lengthen warmup, or take objective max_margin or contrastive"
    }


def thinned(
    config: AlignmentTraining, region_mask: Tensor, s: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """region_mask, s and lengths without the regions and words that are left out at random.

    Every picture keeps its first region, the whole picture, and every sentence its last word.
    """
    if config.drop_regions:
        kept = torch.rand(region_mask.shape, device=region_mask.device) >= config.drop_regions
        kept[:, 0] = True
        region_mask = region_mask & kept
    if config.drop_words:
        words = torch.rand(len(s), device=s.device) >= config.drop_words
        words[lengths.cumsum(0) - 1] = True
        s, lengths = s[words], torch.bincount(sentence_of(lengths)[words], minlength=len(lengths))
    return region_mask, s, lengths
