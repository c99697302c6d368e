"""The pictures that a detector is trained on: through the frozen backbone once, their maps in files, with their truth.

Files of about half a MB a picture at 448 px with `lite`: an epoch reads maps from there.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsalign.chunks import chunks
from vsalign.datasets.entities import union_box
from vsalign.datasets.phrases import read_truth
from vsalign.datasets.records import PhraseTruth
from vsalign.errors import ConfigurationError, InputError, VsalignError
from vsalign.images import DecodeOptions, ImageInput, ReadImage, decode_sized, list_images, read_images
from vsalign.regions.backbone import LITE, build_backbone, map_channels
from vsalign.regions.detector import OTHER, THINNEST, DetectorSizes, Target, kinds_of
from vsalign.regions.network import resize
from vsalign.regions.pooled import PooledRegions
from vsalign.regions.timm_network import STRIDES

Captions = Sequence[tuple[str, str]]
"""The (caption_id, text) of a picture."""

PICTURES_A_PASS = 16
"""Of the backbone, and of the detector in validation."""

KINDS_SHOWN = 20
"""Of the truth, in a message."""


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
    backbone: str = LITE
    """`lite` or `timm:NAME`."""
    backbone_weights: str = ""
    """Of timm's, as vsalign.regions.backbone takes them."""

    def network(self, side: int) -> PooledRegions:
        """The backbone for pictures of `side` px; raises VsalignError where it cannot be had."""
        return build_backbone(self.backbone, self.backbone_weights, side)


@dataclass(frozen=True)
class Pictures:
    """Pictures of one split: their backbone's maps in files, and the truth of each."""

    maps: Sequence[np.ndarray]
    """For each stride (N, C, H, W) float16."""
    places: Sequence[int]
    """Where in `maps` each picture is."""
    truths: Sequence[Target]
    counts: Counter[str] = field(default_factory=Counter)
    """What became of the pictures and phrases that were asked for."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Phrases of each kind, as the truth calls it."""

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


def read_pictures(
    data: DetectorData, captions: Mapping[str, Captions], backbone: PooledRegions, sizes: DetectorSizes, folder: Path
) -> Pictures:
    """The wanted pictures through the backbone, their maps in files of `folder`; a picture without truth is left out.

    A picture that cannot be read is left out too. Raises VsalignError where the disk is too small, or none is left.
    """
    folder.mkdir()
    if not captions:
        return Pictures([], [], [])
    files = _map_files(len(captions), backbone, folder)
    found: dict[str, tuple[int, int]] = {}
    for batch in batches(_decoded(data, captions, backbone.input_size)):
        with torch.inference_mode():
            maps = backbone.network.maps(torch.stack([pixels for _, _, pixels in batch]))
        for file, each in zip(files, maps, strict=True):
            file[len(found) : len(found) + len(batch)] = each.to(torch.float16).numpy()
        found |= {image_id: size for image_id, size, _ in batch}
    targets, counts, kinds = targets_of(data, {i: captions[i] for i in found}, found, sizes)
    if not targets:
        if kinds:
            refuse_absent(sizes.kinds, kinds, data.truth)
        raise ConfigurationError(
            f"none of {len(captions):,} pictures of the captions table is among the images with true boxes in "
            f"{data.truth}: are all three of the same pictures?"
        )
    counts.update(
        pictures=len(targets),
        pictures_not_read=len(captions) - len(found),
        pictures_without_phrase=len(found) - len(targets),
    )
    places = {image_id: row for row, image_id in enumerate(found)}
    return Pictures(files, [places[image_id] for image_id in targets], list(targets.values()), counts, kinds)


def _map_files(pictures: int, backbone: PooledRegions, folder: Path) -> list[np.ndarray]:
    """A file for the maps of so many pictures at each stride; raises VsalignError where the disk is too small."""
    side = backbone.input_size
    widths = map_channels(backbone.network)
    shapes = [(pictures, width, side // s, side // s) for width, s in zip(widths, STRIDES, strict=True)]
    needed, free = sum(2 * int(np.prod(shape)) for shape in shapes), shutil.disk_usage(folder).free
    if needed > free:
        raise VsalignError(
            f"the maps of {pictures:,} pictures need {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f}: set "
            "TMPDIR to a larger disk, or take more workers"
        )
    return [
        np.lib.format.open_memmap(folder / f"{s}.npy", "w+", "<f2", shape)
        for s, shape in zip(STRIDES, shapes, strict=True)
    ]


def targets_of(
    data: DetectorData, captions: Mapping[str, Captions], found: Mapping[str, tuple[int, int]], sizes: DetectorSizes
) -> tuple[dict[str, Target], Counter[str], Counter[str]]:
    """What each picture's detections are learned from, what the truth's reader counted, and phrases by kind.

    found: width, height px of the pictures that were read. A picture without a phrase of a wanted kind has no target.
    """
    reading = read_truth(data.truth, captions, found, data.rescale)
    phrases: dict[str, list[tuple[PhraseTruth, list[float]]]] = {}
    kinds: Counter[str] = Counter()
    for phrase in reading:
        if isinstance(phrase, InputError):
            continue
        kinds[phrase.kind] += 1
        of = kinds_of(phrase.kind, sizes.kinds)
        if any(of):
            phrases.setdefault(phrase.image_id, []).append((phrase, of))
    made = {image_id: _target(own, sizes.input_size, reading.sure) for image_id, own in phrases.items()}
    targets = {image_id: target for image_id, target in made.items() if len(target.boxes)}
    return targets, Counter({f"truth_{name}": count for name, count in reading.counts.items()}), kinds


def _target(phrases: Sequence[tuple[PhraseTruth, list[float]]], side: int, sure: int) -> Target:
    """Of one picture's phrases with their kinds, in px of a square of `side`; what is too thin to see is left out."""
    first = phrases[0][0]
    scale = side / np.array([first.width, first.height] * 2, dtype=np.float32)
    unions = np.stack([union_box(phrase.boxes) for phrase, _ in phrases]) * scale
    kept = _thick(unions)
    drawn = np.concatenate([unions[kept], *(phrase.boxes * scale for phrase, _ in phrases)])
    boxes = np.unique(drawn[_thick(drawn)].round(2), axis=0)
    kinds = torch.tensor([of for _, of in phrases])[torch.from_numpy(kept)]
    return Target(torch.from_numpy(boxes), torch.from_numpy(unions[kept]), kinds, sure)


def _thick(boxes: np.ndarray) -> np.ndarray:
    """Which of boxes (n, 4) have sides of at least THINNEST px: (n,) bool."""
    return (boxes[:, 2:] - boxes[:, :2]).min(1) >= THINNEST


def refuse_absent(wanted: Sequence[str], found: Counter[str], truth: str) -> None:
    """Raise ConfigurationError where no phrase of the pictures is of a wanted kind."""
    parts = {part for kind in found for part in (kind, *kind.split("/"))}
    if absent := [kind for kind in wanted if kind != OTHER and kind not in parts]:
        known = ", ".join(f"{kind} ({count:,})" for kind, count in found.most_common(KINDS_SHOWN))
        raise ConfigurationError(
            f"no phrase of these pictures in {truth} is of the kind {absent[0]!r}: the kinds are {known}"
            + (" and more" if len(found) > KINDS_SHOWN else "")
        )


def _decoded(
    data: DetectorData, captions: Mapping[str, Captions], side: int
) -> Iterator[tuple[str, tuple[int, int], Tensor]]:
    """(image_id, (width, height), (3, side, side) uint8) of the wanted pictures that can be read, two threads ahead."""

    def prepare(image: ReadImage) -> tuple[str, tuple[int, int], Tensor] | None:
        try:
            if image.error is not None or image.data is None:
                return None
            pixels, size = decode_sized(image.data, image.uri, DecodeOptions(least_side=2 * side))
        except InputError:
            return None
        return image.image_id, size, resize(pixels, side)

    with ThreadPoolExecutor(2) as pool:
        for shard in list_images(data.images):
            rows = [row for row in shard if row["kind"] == "archive" or row["image_id"] in captions]
            for images in batches(image for image in read_images(rows) if image.image_id in captions):
                yield from filter(None, pool.map(prepare, images))


def batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of PICTURES_A_PASS items, the last perhaps shorter."""
    return chunks(items, PICTURES_A_PASS)


def _mirrored(target: Target, side: int) -> Target:
    def turn(boxes: Tensor) -> Tensor:
        return torch.stack([side - boxes[:, 2], boxes[:, 1], side - boxes[:, 0], boxes[:, 3]], dim=1)

    return replace(target, boxes=turn(target.boxes), phrases=turn(target.phrases))
