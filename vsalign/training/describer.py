"""Training a describer on captions and, where segments are given, on regions with their phrases (paper, 3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from vsalign.checkpoint import load_model, save_model
from vsalign.errors import ConfigurationError, WrongExtractorError
from vsalign.generation import DESCRIBERS, DescriberConfig, DescriberNetwork
from vsalign.storage import TableReader
from vsalign.text import END, PAD, START, UNK, Vocabulary
from vsalign.training.loop import Cost, Report, Training
from vsalign.training.rewards import Consensus, paid_by
from vsalign.training.schedule import HERE, PairSchedule, Running
from vsalign.training.state import TrainingState, fingerprint
from vsalign.training.stream import Batch, PairStream, Text
from vsalign.training.texts import Caption, PhraseRules, caption_texts, captions_of, phrase_texts
from vsalign.training.workers import mean_over_workers, worker

RECIPES = Path(__file__).with_name("recipes") / "describer"
SAMPLES = 8
"""Sentences that stand beside the curves."""
IMAGES = 256
"""Images whose features are read at once for the baseline."""


@dataclass(frozen=True, kw_only=True)
class DescriberTraining(PhraseRules, PairSchedule):
    """What a describer is trained with; the defaults are the Multimodal RNN's: RMSprop, by perplexity."""

    model: DescriberConfig = field(default_factory=DescriberConfig)
    """Kind and sizes of the model."""
    epochs: int = 7
    """Times that every text is seen."""
    objective: Literal["likelihood", "cider"] = "likelihood"
    """likelihood: of the captions' words. cider: CIDEr-D of sentences that the model draws itself, beside that of the
    others it drew for the image (self-critical training), for a model that --start names."""
    start: str = ""
    """Folder of a describer that training goes on from, on the same extractor's features: its kind, sizes and
    vocabulary are taken over. Empty: random weights."""
    optimiser: Literal["rmsprop", "adamw"] = "rmsprop"
    """rmsprop: the paper's."""
    smoothing: float = 0.99
    """RMSprop's running mean of squared gradients keeps this share a step."""
    label_smoothing: float = 0.0
    """Share of a word's probability that is meant for all words alike."""
    drop_words: float = 0.0
    """Share of the words read that are UNK in training, at random."""
    drop_regions: float = 0.0
    """attention: share of an image's regions, but for the described one, not seen in training, at random."""
    draws: int = 5
    """With --objective cider: sentences drawn for each image."""
    choose_by: Literal["perplexity", "cider"] = "perplexity"
    """The figure of the validation split that chooses the epoch: cider is CIDEr-D of its whole images' sentences, by a
    beam of 3 and this package's own tokens."""
    whole_images: bool = True
    """Whether whole images with their captions are learned; without, segments alone (the paper's region model)."""
    patience: int = 3
    """Epochs without a better figure after which training stops."""

    def __post_init__(self) -> None:
        PairSchedule.__post_init__(self)
        PhraseRules.__post_init__(self)
        for name in ("smoothing", "label_smoothing", "drop_words", "drop_regions"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: it lies in [0, 1)")
        if self.objective == "cider" and (self.draws < 2 or not self.start or not self.whole_images):
            raise ConfigurationError(
                "--objective cider teaches a model of whole images that --start names, by at least 2 --draws an image"
            )


@dataclass(frozen=True)
class DescriberData:
    """The tables that a describer is trained on, as they travel to a worker."""

    regions: str
    captions: str
    segments: str = ""
    """Inferred phrases; empty: whole captions alone."""


def train_describer(
    config: DescriberTraining,
    data: DescriberData,
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
    started = load_model(config.start, "describer") if config.start else None
    if started:
        regions.require_extractor(started.extractor, needed_by=f"the model {config.start}")
    vocabulary = (
        started.vocabulary
        if started
        else Vocabulary.build([caption.tokens for caption in train_captions], config.min_count)
    )
    segments = segments_of(data.segments, regions) if data.segments else None
    shown = (started.model.config if started else config.model).shown
    learned, held_out = (_texts(config, segments, part, vocabulary) for part in (train_captions, validation))
    if config.objective == "cider":
        learned = {image_id: texts[:1] for image_id, texts in learned.items()}  # an image's others are its references
    stream = PairStream(regions, learned, seed=config.seed, window_images=config.window_images, shown=shown)
    torch.manual_seed(config.seed)
    if started:
        model: DescriberNetwork = started.model
    else:
        model = DESCRIBERS[config.model.describer](stream.dim, len(vocabulary), config.model)
        model.standardise(*stream.statistics())
    model.to(running.device)
    made_of = fingerprint(config, data, vocabulary, stream)
    state = TrainingState(model, optimiser_of(config, model), made_of, config.average)
    if resume is not None:
        state.load(resume)
    measure = Validation(config, model, vocabulary, regions, held_out, validation)
    cost = cost_of(config)
    if config.objective == "cider":
        cost = paid_by(Consensus(train_captions, vocabulary), model, config.draws, config.precision)
    Training(config, running, state, stream, cost, work, report).run(measure, measure.samples)
    if worker()[0] == 0:
        training = {"configuration": asdict(config), **state.summary()}
        save_model(output, "describer", model, vocabulary, regions.properties["extractor"], training)


class Validation:
    """What is measured of the model after an epoch."""

    def __init__(
        self,
        config: DescriberTraining,
        model: DescriberNetwork,
        vocabulary: Vocabulary,
        regions: TableReader,
        texts: Mapping[str, Sequence[Text]],
        captions: Sequence[Caption],
    ) -> None:
        self.model, self.vocabulary = model, vocabulary
        self.stream = PairStream(regions, texts, seed=0, shown=model.config.shown)
        self.consensus: Consensus | None = None
        self.said: list[str] = []
        """The first sentences of the last time."""
        if config.choose_by == "cider":
            self.consensus = Consensus(captions, vocabulary)
            whole = {image_id: [Text([UNK])] for image_id in self.consensus.images}
            self.whole = PairStream(regions, whole, seed=0, shown=model.config.shown)

    def __call__(self) -> tuple[float, dict[str, float]]:
        """The figure to maximise, and all of them."""
        of_words = perplexity(self.model, self.stream)
        if self.consensus is None:
            return -of_words, {"perplexity": of_words}
        cider, sentences = self.consensus.of_split(self.model, self.whole)
        self.said = [" ".join(self.vocabulary.decode(ids)) for ids in sentences[:SAMPLES]]
        return 100 * cider, {"cider": 100 * cider, "perplexity": of_words}

    def samples(self) -> str:
        """The same as a Markdown list."""
        return "\n".join(f"- {sentence}" for sentence in self.said)


def optimiser_of(config: DescriberTraining, model: nn.Module) -> torch.optim.Optimizer:
    """Of all parameters."""
    if config.optimiser == "adamw":
        return torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.RMSprop(
        model.parameters(), config.learning_rate, alpha=config.smoothing, weight_decay=config.weight_decay
    )


def cost_of(config: DescriberTraining) -> Cost:
    """The mean negative log-likelihood of a batch's words, END included, on the model's device."""

    def cost(trained: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        device = next(trained.parameters()).device
        batch = batch.to(device)
        inputs, targets = shifted(batch)
        if config.drop_words:
            dropped = torch.rand(inputs.shape, device=device) < config.drop_words
            inputs = torch.where(dropped & (inputs > UNK), UNK, inputs)
        mask = batch.region_mask
        if config.drop_regions:
            mask = mask & (torch.rand(mask.shape, device=device) >= config.drop_regions)
            mask[torch.arange(len(mask), device=device), batch.described] = True
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = trained(batch.features, mask, batch.described, inputs[:, None], batch.lengths[:, None] + 1)
        # A mean over the words of all workers: the mean of their means would weigh words by where they fell.
        nats = nn.functional.cross_entropy(
            logits.float(), targets, reduction="sum", label_smoothing=config.label_smoothing
        )
        return nats / mean_over_workers(len(targets)), {}

    return cost


def segments_of(url: str, regions: TableReader) -> TableReader:
    """The segments table; raises WrongExtractorError where its regions are of another extractor's than `regions`."""
    segments = TableReader(url, "segments")
    own, here = segments.properties.get("extractor"), regions.properties["extractor"]
    if own is not None and own != here:
        raise WrongExtractorError(
            f"the segments of {url} are on regions of another extractor ({own}) than those of {regions.url} ({here}): "
            "align the segments again on these regions"
        )
    return segments


def _texts(
    config: DescriberTraining, segments: TableReader | None, captions: Sequence[Caption], vocabulary: Vocabulary
) -> Mapping[str, Sequence[Text]]:
    """What is learned of each image: its captions, its regions' phrases, or both."""
    whole = caption_texts(captions, vocabulary) if config.whole_images or segments is None else {}
    if segments is None:
        return whole
    phrases = phrase_texts(segments, captions, vocabulary, config)
    return {image_id: [*whole.get(image_id, []), *phrases.get(image_id, [])] for image_id in {**whole, **phrases}}


def shifted(batch: Batch) -> tuple[Tensor, Tensor]:
    """Inputs START w_1 .. w_n (B, T + 1), PAD behind, and the targets w_1 .. w_n END of all texts in one (W,)."""
    column = batch.words.new_full((len(batch.words), 1), START)
    inputs = torch.cat([column, batch.words], 1)
    targets = torch.cat([batch.words, torch.full_like(column, PAD)], 1)
    targets.scatter_(1, batch.lengths[:, None], END)
    inside = torch.arange(targets.shape[1], device=targets.device) <= batch.lengths[:, None]
    return inputs, targets[inside]


@torch.inference_mode()
def perplexity(model: DescriberNetwork, stream: PairStream, batch_size: int = 256) -> float:
    """exp of the mean negative log-likelihood of a word, END included, over all texts; inf where no float holds it."""
    model.eval()
    device = next(model.parameters()).device
    nats, words = 0.0, 0
    for batch in stream.all_pairs(batch_size):
        batch = batch.to(device)
        inputs, targets = shifted(batch)
        logits = model(batch.features, batch.region_mask, batch.described, inputs[:, None], batch.lengths[:, None] + 1)
        nats += float(nn.functional.cross_entropy(logits, targets, reduction="sum"))
        words += len(targets)
    return float(torch.tensor(nats / words, dtype=torch.float64).exp())


def whole_image_features(regions: TableReader, image_ids: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The (D,) float32 feature of region 0 of each of the images that the table has, in the table's order."""
    stream = PairStream(regions, dict.fromkeys(image_ids, [Text([START])]), seed=0, shown="described")
    position = (image_id for ids in stream.image_ids for image_id in ids)
    for features, _ in stream.images(IMAGES):
        for row in features[:, 0].float().numpy():
            yield next(position), row.copy()  # a view would keep the others' in memory
