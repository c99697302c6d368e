"""Training the Multimodal RNN on captions and, where segments are given, on regions with their phrases (paper, 3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vsalign.checkpoint import save_model
from vsalign.errors import ConfigurationError, WrongExtractorError
from vsalign.generation import MRNN, MRNNConfig
from vsalign.storage import TableReader
from vsalign.text import END, PAD, START, Vocabulary
from vsalign.training.loop import Cost, Report, Training
from vsalign.training.schedule import HERE, PairSchedule, Running
from vsalign.training.state import TrainingState, fingerprint
from vsalign.training.stream import Batch, PairStream, Text
from vsalign.training.texts import Caption, caption_texts, captions_of, phrase_texts
from vsalign.training.workers import mean_over_workers, worker

IMAGES = 256
"""Images whose features are read at once for the baseline."""


@dataclass(frozen=True, kw_only=True)
class MRNNTraining(PairSchedule):
    """What the Multimodal RNN is trained with: RMSprop, the epoch kept that has the best perplexity."""

    model: MRNNConfig = field(default_factory=MRNNConfig)
    """Sizes of the model."""
    epochs: int = 7
    """Times that every text is seen."""
    smoothing: float = 0.99
    """RMSprop's running mean of squared gradients keeps this share a step."""
    whole_images: bool = True
    """Whether whole images with their captions are learned; without, segments alone (the paper's region model)."""
    min_phrase: int = 1
    """Inferred phrases of fewer words are left out."""
    patience: int = 3
    """Epochs without a better perplexity after which training stops."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing < 1:
            raise ConfigurationError(f"smoothing is {self.smoothing}: it lies in [0, 1)")
        if self.min_phrase < 1:
            raise ConfigurationError(f"min_phrase is {self.min_phrase}: give at least 1")


@dataclass(frozen=True)
class MRNNData:
    """The tables that the Multimodal RNN is trained on, as they travel to a worker."""

    regions: str
    captions: str
    segments: str = ""
    """Inferred phrases; empty: whole captions alone."""


def train_mrnn(
    config: MRNNTraining,
    data: MRNNData,
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
    segments = segments_of(data.segments, regions) if data.segments else None
    learned, held_out = (_texts(config, segments, part, vocabulary) for part in (train_captions, validation))
    stream = PairStream(regions, learned, seed=config.seed, window_images=config.window_images, described_alone=True)
    held_out_stream = PairStream(regions, held_out, seed=0, described_alone=True)
    torch.manual_seed(config.seed)
    model = MRNN(stream.dim, len(vocabulary), config.model)
    model.standardise(*stream.statistics())
    model.to(running.device)
    optimiser = torch.optim.RMSprop(
        model.parameters(), config.learning_rate, alpha=config.smoothing, weight_decay=config.weight_decay
    )
    state = TrainingState(model, optimiser, fingerprint(config, data, vocabulary, stream))
    if resume is not None:
        state.load(resume)

    def validate() -> tuple[float, dict[str, float]]:
        value = perplexity(model, held_out_stream)
        return -value, {"perplexity": value}

    Training(config, running, state, stream, cost_of(config), work, report).run(validate)
    if worker()[0] == 0:
        training = {"configuration": asdict(config), **state.summary()}
        save_model(output, "mrnn", model, vocabulary, regions.properties["extractor"], training)


def cost_of(config: MRNNTraining) -> Cost:
    """The mean negative log-likelihood of a batch's words, END included, on the model's device."""

    def cost(trained: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        device = next(trained.parameters()).device
        batch = batch.to(device)
        inputs, targets = shifted(batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = trained(batch.features[:, 0], inputs, batch.lengths + 1)
        # A mean over the words of all workers: the mean of their means would weigh words by where they fell.
        nats = nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
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
    config: MRNNTraining, segments: TableReader | None, captions: Sequence[Caption], vocabulary: Vocabulary
) -> Mapping[str, Sequence[Text]]:
    """What is learned of each image: its captions, its regions' phrases, or both."""
    whole = caption_texts(captions, vocabulary) if config.whole_images or segments is None else {}
    if segments is None:
        return whole
    phrases = phrase_texts(segments, captions, vocabulary, config.min_phrase)
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
def perplexity(model: MRNN, stream: PairStream, batch_size: int = 256) -> float:
    """exp of the mean negative log-likelihood of a word, END included, over all texts; inf where no float holds it."""
    model.eval()
    device = next(model.parameters()).device
    nats, words = 0.0, 0
    for batch in stream.all_pairs(batch_size):
        batch = batch.to(device)
        inputs, targets = shifted(batch)
        logits = model(batch.features[:, 0], inputs, batch.lengths + 1)
        nats += float(nn.functional.cross_entropy(logits, targets, reduction="sum"))
        words += len(targets)
    return float(torch.tensor(nats / words, dtype=torch.float64).exp())


def whole_image_features(regions: TableReader, image_ids: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The (D,) float32 feature of region 0 of each of the images that the table has, in the table's order."""
    stream = PairStream(regions, dict.fromkeys(image_ids, [Text([START])]), seed=0, described_alone=True)
    position = (image_id for ids in stream.image_ids for image_id in ids)
    for features, _ in stream.images(IMAGES):
        for row in features[:, 0].float().numpy():
            yield next(position), row.copy()  # a view would keep the others' in memory
