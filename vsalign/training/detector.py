"""Training the detector of `rcnn-lite` on boxes that people gave to phrases; the backbone stays as it is.

An epoch reads the backbone's maps from files, half of the pictures mirrored (vsalign.training.detector_pictures).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from vsalign.checkpoint import save_detector
from vsalign.datasets.phrases import by_image
from vsalign.errors import ConfigurationError
from vsalign.regions.backbone import carried, map_channels
from vsalign.regions.detector import MATCH, Detector, DetectorConfig, DetectorSizes
from vsalign.storage import TableReader
from vsalign.training.detector_pictures import Captions, DetectorData, Pictures, batches, read_pictures, refuse_absent
from vsalign.training.loop import Report, Training
from vsalign.training.schedule import HERE, Running, Schedule
from vsalign.training.state import TrainingState
from vsalign.training.texts import captions_of
from vsalign.training.workers import worker


@dataclass(frozen=True, kw_only=True)
class DetectorTraining(Schedule):
    """What the detector is trained with: AdamW, the epoch kept whose regions cover most phrases."""

    model: DetectorSizes = field(default_factory=DetectorSizes)
    """Sizes of the detector, and what it tells apart."""
    epochs: int = 4
    """Times that every picture is seen. Chosen on Flickr8k's tune split: recall of 20 regions after one and two epochs
    was 84 and 87 %."""
    batch_size: int = 16
    """Pictures a step, over all workers."""
    weight_decay: float = 0.05
    """AdamW's; a guess."""
    patience: int = 4
    """Epochs without a better recall after which training stops."""


class MapStream:
    """A worker's pictures in the order of an epoch; `pairs` counts those of all workers."""

    def __init__(self, own: Pictures, pairs: int, seed: int) -> None:
        self.own, self.pairs, self.seed = own, pairs, seed

    def steps(self, batch_size: int, workers: int = 1) -> int:
        """Steps of an epoch, the same for each of `workers`."""
        share = self.pairs // workers
        if not share:
            raise ConfigurationError(f"{self.pairs} pictures do not reach for {workers} workers: use fewer workers")
        return max(1, share // batch_size)

    def epoch(
        self, epoch: int, batch_size: int, *, worker: int = 0, workers: int = 1, first_step: int = 0
    ) -> Iterator[Any]:
        """(maps, targets) of each step, from `first_step` on."""
        rng = np.random.default_rng([self.seed, epoch, worker])
        steps = self.steps(batch_size, workers)
        # A worker whose pictures could not all be read goes on with its first ones: the steps are everybody's.
        order = np.resize(rng.permutation(len(self.own.truths)), steps * batch_size)
        for step in range(steps):
            rows = order[step * batch_size : (step + 1) * batch_size].tolist()
            mirrored = (rng.random(len(rows)) < 0.5).tolist()
            if step >= first_step:
                yield self.own.batch(rows, mirrored)


def train_detector(
    config: DetectorTraining,
    data: DetectorData,
    output: str,
    work: Path,
    report: Report,
    resume: Path | None = None,
    running: Running = HERE,
) -> None:
    """Train, telling `report` after every epoch, and write the best epoch's detector folder to `output`.

    Runs alone or as one of several torch.distributed workers; `resume` is a checkpoint folder that `report` was given.
    """
    rank, workers = worker()
    wanted = {name: split_captions(data, name) for name in (config.train_split, config.validation_split)}
    train_ids = sorted(wanted[config.train_split])
    share = len(train_ids) // workers
    own = set(train_ids[rank * share : (rank + 1) * share])
    backbone = data.network(config.model.input_size)
    torch.manual_seed(config.seed)
    detector = Detector(DetectorConfig(**{**asdict(config.model), "maps": map_channels(backbone.network)}))
    optimiser = torch.optim.AdamW(detector.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    made_of = repr((asdict(config), asdict(data), train_ids, backbone.identity()))
    state = TrainingState(detector, optimiser, hashlib.sha256(made_of.encode()).hexdigest(), config.average)
    if resume is not None:
        state.load(resume)
    with tempfile.TemporaryDirectory(dir=work.parent) as scratch:
        mine = {image_id: texts for image_id, texts in wanted[config.train_split].items() if image_id in own}
        learned = read_pictures(data, mine, backbone, config.model, Path(scratch) / "train")
        refuse_absent(config.model.kinds, over_workers(learned.kinds), data.truth)
        counts = over_workers(learned.counts)
        validation = wanted[config.validation_split] if rank == 0 else {}
        measured = read_pictures(data, validation, backbone, config.model, Path(scratch) / "validation")
        stream = MapStream(learned, share * workers, config.seed)

        def validate() -> tuple[float, dict[str, float]]:
            recall = measure(detector, measured)
            return recall, {"recall50": recall}

        Training(config, running, state, stream, cost, work, report).run(validate)
    if rank == 0:
        training = {
            "configuration": asdict(config),
            "data": {"truth": Path(data.truth).name, **dict(sorted(counts.items()))},
            **state.summary(),
        }
        save_detector(output, detector, backbone.identity(), training, data.terms, carried(backbone.network))


def cost(trained: nn.Module, batch: Any) -> tuple[Tensor, dict[str, float]]:
    """The detector's own, of maps and targets."""
    return trained(*batch), {}


def over_workers(counts: Counter[str]) -> Counter[str]:
    """The sum of every worker's counts, on every worker."""
    _, workers = worker()
    if workers == 1:
        return counts
    gathered: list[Any] = [None] * workers
    dist.all_gather_object(gathered, counts)
    return sum(gathered, Counter())


def split_captions(data: DetectorData, split: str) -> dict[str, Captions]:
    """The (caption_id, text) of each image of a split; raises ConfigurationError where it has none."""
    captions = captions_of(TableReader(data.captions, "captions"), split)
    return dict(by_image([(caption.image_id, caption.caption_id, caption.text) for caption in captions]))


@torch.no_grad()
def measure(detector: Detector, pictures: Pictures) -> float:
    """Recall, per cent: phrases whose union box one of the picture's 20 regions meets with IoU >= 0.5."""
    from torchvision.ops import box_iou

    side = float(detector.config.input_size)
    whole = torch.tensor([[0.0, 0.0, side, side]])
    met = total = 0
    for rows in batches(range(len(pictures.truths))):
        maps, targets = pictures.batch(rows)
        for (boxes, _), target in zip(detector.detect(maps), targets, strict=True):
            overlap = box_iou(target.phrases, torch.cat([whole, boxes])).amax(1)
            met, total = met + int((overlap >= MATCH).sum()), total + len(target.phrases)
    return 100 * met / total
