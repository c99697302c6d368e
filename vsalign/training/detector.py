"""Training the detector of `rcnn-lite` on boxes that people gave to phrases; the backbone stays as it is.

The backbone runs once over the pictures, and its maps stay in files of the working folder (about half a MB a picture at
448 px): an epoch reads them from there, half of them mirrored.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsalign.checkpoint import save_detector
from vsalign.datasets.entities import union_box
from vsalign.datasets.phrases import by_image, read_truth
from vsalign.datasets.records import PhraseTruth
from vsalign.errors import ConfigurationError, InputError, VsalignError
from vsalign.images import ImageInput, ReadImage, decode_image, list_images, read_images
from vsalign.regions.detector import MATCH, Detector, DetectorConfig, Target
from vsalign.regions.lite import Lite
from vsalign.regions.network import MAP_CHANNELS, resize
from vsalign.storage import TableReader
from vsalign.training.loop import Report, Schedule, train, worker
from vsalign.training.state import TrainingState
from vsalign.training.texts import captions_of

STRIDES = (8, 16, 32)
Captions = Sequence[tuple[str, str]]
"""The (caption_id, text) of a picture."""

PICTURES_A_PASS = 16
"""Of the backbone, and of the detector in validation."""


@dataclass(frozen=True, kw_only=True)
class DetectorTraining(Schedule):
    """What the detector is trained with: AdamW, the epoch kept whose regions cover most phrases."""

    model: DetectorConfig = field(default_factory=DetectorConfig)
    """Sizes of the detector."""
    epochs: int = 4
    """Times that every picture is seen. Chosen on Flickr8k's tune split: recall of 20 regions after one and two epochs
    was 84 and 87 %."""
    batch_size: int = 16
    """Pictures a step, over all workers."""
    weight_decay: float = 0.05
    """AdamW's; a guess."""
    patience: int = 4
    """Epochs without a better recall after which training stops."""


@dataclass(frozen=True)
class DetectorData:
    """Pictures, captions and boxes, as they travel to a worker."""

    images: ImageInput
    """The pictures; their image_ids are those of the captions table."""
    captions: str
    """Captions table: which pictures are in which split, and the sentences that hold the phrases."""
    truth: str
    """Phrases with their boxes (vsalign.datasets.phrases)."""
    rescale: bool = False
    """Boxes go with a picture to its own size."""
    terms: str = ""
    """Of the pictures and boxes, for the model card."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of one split: their backbone's maps in files, and the truth of each."""

    maps: Sequence[np.ndarray]
    """For each stride (N, C, H, W) float16."""
    places: Sequence[int]
    """Where in `maps` each picture is."""
    truths: Sequence[Target]

    def batch(self, rows: Sequence[int], mirrored: Sequence[bool] | None = None) -> tuple[list[Tensor], list[Target]]:
        """Maps (B, C, H, W) float32 and targets of these pictures, some of them mirrored left to right."""
        maps = [torch.from_numpy(np.stack([one[self.places[row]] for row in rows])).float() for one in self.maps]
        targets = [self.truths[row] for row in rows]
        if mirrored is not None:
            side = STRIDES[0] * maps[0].shape[-1]
            turn = torch.tensor(mirrored)[:, None, None, None]
            maps = [torch.where(turn, one.flip(3), one) for one in maps]
            targets = [_mirrored(t, side) if turned else t for t, turned in zip(targets, mirrored, strict=True)]
        return maps, targets


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

    def epoch(self, epoch: int, batch_size: int, *, worker: int = 0, workers: int = 1) -> Iterator[Any]:
        """(maps, targets) of each step."""
        rng = np.random.default_rng([self.seed, epoch, worker])
        steps = self.steps(batch_size, workers)
        # A worker whose pictures could not all be read goes on with its first ones: the steps are everybody's.
        order = np.resize(rng.permutation(len(self.own.truths)), steps * batch_size)
        for step in range(steps):
            rows = order[step * batch_size : (step + 1) * batch_size].tolist()
            yield self.own.batch(rows, (rng.random(len(rows)) < 0.5).tolist())


def train_detector(
    config: DetectorTraining, data: DetectorData, output: str, work: Path, report: Report, resume: Path | None = None
) -> None:
    """Train, telling `report` after every epoch, and write the best epoch's detector folder to `output`.

    Runs alone or as one of several torch.distributed workers; `resume` is a checkpoint folder that `report` was given.
    """
    rank, workers = worker()
    wanted = {name: split_captions(data, name) for name in (config.train_split, config.validation_split)}
    train_ids = sorted(wanted[config.train_split])
    share = len(train_ids) // workers
    own = set(train_ids[rank * share : (rank + 1) * share])
    backbone = Lite(input_size=config.model.input_size)
    torch.manual_seed(config.seed)
    detector = Detector(config.model)
    optimiser = torch.optim.AdamW(detector.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    made_of = repr((asdict(config), asdict(data), train_ids, backbone.identity()))
    state = TrainingState(detector, optimiser, hashlib.sha256(made_of.encode()).hexdigest())
    if resume is not None:
        state.load(resume)
    with tempfile.TemporaryDirectory(dir=work.parent) as scratch:
        mine = {image_id: texts for image_id, texts in wanted[config.train_split].items() if image_id in own}
        learned = read_pictures(data, mine, backbone, Path(scratch) / "train")
        validation = wanted[config.validation_split] if rank == 0 else {}
        measured = read_pictures(data, validation, backbone, Path(scratch) / "validation")
        stream = MapStream(learned, share * workers, config.seed)

        def validate() -> tuple[float, dict[str, float]]:
            recall = measure(detector, measured)
            return recall, {"recall50": recall}

        train(config, state, stream, lambda trained, batch: trained(*batch), validate, work, report)
    if rank == 0:
        training = {
            "configuration": asdict(config),
            "data": {"truth": Path(data.truth).name, "pictures": len(train_ids)},
            "best_epoch": state.best_epoch,
            "history": state.history,
        }
        save_detector(output, detector, backbone.identity(), training, data.terms)


def split_captions(data: DetectorData, split: str) -> dict[str, Captions]:
    """The (caption_id, text) of each image of a split; raises ConfigurationError where it has none."""
    captions = captions_of(TableReader(data.captions, "captions"), split)
    return dict(by_image([(caption.image_id, caption.caption_id, caption.text) for caption in captions]))


def read_pictures(data: DetectorData, captions: dict[str, Captions], backbone: Lite, folder: Path) -> Pictures:
    """The wanted pictures through the backbone, their maps in files of `folder`; a picture without truth is left out.

    A picture that cannot be read is left out too. Raises VsalignError where the disk is too small, or none is left.
    """
    folder.mkdir()
    side = backbone.input_size
    shapes = [(len(captions), width, side // s, side // s) for width, s in zip(MAP_CHANNELS, STRIDES, strict=True)]
    needed, free = sum(2 * int(np.prod(shape)) for shape in shapes), shutil.disk_usage(folder).free
    if needed > free:
        raise VsalignError(
            f"the maps of {len(captions):,} pictures need {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f}: set "
            "TMPDIR to a larger disk, or take more workers"
        )
    if not captions:
        return Pictures([], [], [])
    files = [
        np.lib.format.open_memmap(folder / f"{s}.npy", "w+", "<f2", shape)
        for s, shape in zip(STRIDES, shapes, strict=True)
    ]
    sizes: dict[str, tuple[int, int]] = {}
    for batch in _batches(_decoded(data, captions, side)):
        with torch.inference_mode():
            maps = backbone.network.maps(torch.stack([pixels for _, _, pixels in batch]))
        for file, found in zip(files, maps, strict=True):
            file[len(sizes) : len(sizes) + len(batch)] = found.to(torch.float16).numpy()
        sizes |= {image_id: size for image_id, size, _ in batch}
    targets = targets_of(data, {i: captions[i] for i in sizes}, sizes, side)
    if not targets:
        raise ConfigurationError(
            f"none of {len(captions):,} pictures of the captions table is among the images with true boxes in "
            f"{data.truth}: are all three of the same pictures?"
        )
    places = {image_id: row for row, image_id in enumerate(sizes)}
    return Pictures(files, [places[image_id] for image_id in targets], list(targets.values()))


def targets_of(
    data: DetectorData, captions: dict[str, Captions], sizes: dict[str, tuple[int, int]], side: int
) -> dict[str, Target]:
    """What each picture's detections are learned from, in px of a square of `side`; without phrases there is none."""
    phrases: dict[str, list[PhraseTruth]] = {}
    for phrase in read_truth(data.truth, captions, sizes, data.rescale):
        if isinstance(phrase, PhraseTruth):
            phrases.setdefault(phrase.image_id, []).append(phrase)
    targets = {}
    for image_id, own in phrases.items():
        scale = side / np.array([own[0].width, own[0].height] * 2, dtype=np.float32)
        unions = np.stack([union_box(phrase.boxes) for phrase in own]) * scale
        drawn = np.concatenate([unions, *(phrase.boxes * scale for phrase in own)])
        boxes = np.unique(drawn.round(2), axis=0)
        targets[image_id] = Target(torch.from_numpy(boxes), torch.from_numpy(unions))
    return targets


@torch.no_grad()
def measure(detector: Detector, pictures: Pictures) -> float:
    """Recall, per cent: phrases whose union box one of the picture's 20 regions meets with IoU >= 0.5."""
    from torchvision.ops import box_iou

    side = float(detector.config.input_size)
    whole = torch.tensor([[0.0, 0.0, side, side]])
    met = total = 0
    for rows in _batches(range(len(pictures.truths))):
        maps, targets = pictures.batch(rows)
        for (boxes, _), target in zip(detector.detect(maps), targets, strict=True):
            overlap = box_iou(target.phrases, torch.cat([whole, boxes])).amax(1)
            met, total = met + int((overlap >= MATCH).sum()), total + len(target.phrases)
    return 100 * met / total


def _decoded(
    data: DetectorData, captions: dict[str, Captions], side: int
) -> Iterator[tuple[str, tuple[int, int], Tensor]]:
    """(image_id, (width, height), (3, side, side) uint8) of the wanted pictures that can be read, two threads ahead."""

    def prepare(image: ReadImage) -> tuple[str, tuple[int, int], Tensor] | None:
        try:
            if image.error is not None or image.data is None:
                return None
            pixels = decode_image(image.data, image.uri)
        except InputError:
            return None
        return image.image_id, (pixels.shape[1], pixels.shape[0]), resize(pixels, side)

    with ThreadPoolExecutor(2) as pool:
        for shard in list_images(data.images):
            rows = [row for row in shard if row["kind"] == "archive" or row["image_id"] in captions]
            for images in _batches(image for image in read_images(rows) if image.image_id in captions):
                yield from filter(None, pool.map(prepare, images))


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    waiting = iter(items)
    while chunk := list(itertools.islice(waiting, PICTURES_A_PASS)):
        yield chunk


def _mirrored(target: Target, side: int) -> Target:
    def turn(boxes: Tensor) -> Tensor:
        return torch.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], dim=1)

    return Target(turn(target.boxes), turn(target.phrases))
