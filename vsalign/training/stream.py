"""Pairs of region features and texts, streamed from a regions table in a shuffled order that a seed fixes.

An epoch goes once through the table's row groups in random order, a window of them at a time; the window's (image,
text) items are shuffled. So memory is bounded by the window, a feature is read once an epoch, and the order depends on
the seed and the epoch alone: a resumed run skips to its step. Each worker takes a contiguous part of the order and
reads only the row groups in it; all take the same number of steps, fixed before the epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vsalign.chunks import chunks
from vsalign.errors import ConfigurationError, TableError
from vsalign.storage import TableReader
from vsalign.tables import feature_arrays

STATISTICS_IMAGES = 1000
"""Images whose features give the mean and scale that standardise all."""


@dataclass(frozen=True)
class Text:
    """A text of an image: a caption of the whole picture (region 0), or a phrase of one of its regions."""

    words: list[int]
    """Word ids; at least one."""
    region: int = 0
    """The region it describes."""
    key: int = 0
    """A 63-bit hash of the text: equal texts are no negatives of each other."""
    states: np.ndarray | None = None
    """(n, d) float16: its words in context, where a language model reads them."""


Pair = tuple[str, Text, np.ndarray]
"""image_id, one of its texts, the features (n, D) float16 that go with it."""


@dataclass(frozen=True)
class Batch:
    """B image-text pairs."""

    features: Tensor
    """(B, R, D) float16, as the table holds them, zeros where there is no region: models turn them into float32."""
    region_mask: Tensor
    """(B, R) bool, True where there is one."""
    words: Tensor
    """(B, T) int64, PAD behind the end."""
    lengths: Tensor
    """(B,) int64."""
    described: Tensor
    """(B,) int64: which of its regions each text describes."""
    image_keys: Tensor
    """(B,) int64, equal for the same image."""
    text_keys: Tensor
    """(B,) int64, equal for the same text."""
    states: Tensor | None = None
    """(W, d) float16 of all words, text by text, where a language model reads them."""

    def to(self, device: torch.device) -> Batch:
        """The same on a device; from pinned memory without waiting for it."""
        return self._each(lambda values: values.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same in memory that a GPU copies by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed: dict[str, Any] = {
            name: values if values is None else change(values) for name, values in vars(self).items()
        }
        return Batch(**changed)


def key_of(text: str) -> int:
    """A 63-bit hash of a string, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


class PairStream:
    """All (image, text) pairs whose image is in the regions table; iterate with `epoch`.

    texts: the texts of each image_id. `left_out` counts the images of `texts` that the table lacks. shown: whether a
    text comes with the features of all regions of its image, of the described one alone, or of the whole image (region
    0) and, behind it, the described one where that is another.
    Raises ConfigurationError where no pair is left.
    """

    def __init__(
        self,
        regions: TableReader,
        texts: Mapping[str, Sequence[Text]],
        *,
        seed: int,
        window_images: int = 8192,
        shown: Literal["all", "described", "whole"] = "all",
    ) -> None:
        self.regions, self.texts, self.seed, self.window_images = regions, texts, seed, window_images
        self.shown = shown
        self.dim = int(regions.schema.metadata[b"feature_dim"])
        self.image_ids: list[list[str]] = []
        """Of each row group, the ids of its images that have texts."""
        self._row_groups: list[tuple[int, int]] = []
        """(shard, row group within it) of each."""
        for shard in range(len(regions.shards)):
            for group, batch in regions.row_groups(shard, ["image_id"]):
                self._row_groups.append((shard, group))
                self.image_ids.append([image_id for image_id in batch.column(0).to_pylist() if texts.get(image_id)])
        found = sum(map(len, self.image_ids))
        self.left_out = sum(1 for values in texts.values() if values) - found
        self.pairs = sum(len(texts[image_id]) for ids in self.image_ids for image_id in ids)
        if not self.pairs:
            raise ConfigurationError(
                f"no caption of the split belongs to an image of {regions.url}: are both tables of the same images?"
            )

    def steps(self, batch_size: int, workers: int = 1) -> int:
        """Steps of an epoch, the same for each of `workers`; what is over, less than a batch each, waits for the next.

        Raises ConfigurationError where there are fewer pairs than workers.
        """
        share = self.pairs // workers
        if not share:
            raise ConfigurationError(f"{self.pairs} pairs do not reach for {workers} workers: use fewer workers")
        return max(1, share // batch_size)

    def epoch(
        self, epoch: int, batch_size: int, *, worker: int = 0, workers: int = 1, first_step: int = 0
    ) -> Iterator[Batch]:
        """The batches of one worker in one epoch, from `first_step` on: all of `batch_size`, or of its whole share."""
        steps, share = self.steps(batch_size, workers), self.pairs // workers
        size = min(batch_size, share)
        first = worker * share
        return batched(self._pairs(epoch, first + first_step * size, first + steps * size), size)

    def all_pairs(self, batch_size: int) -> Iterator[Batch]:
        """Every pair once, in the order of epoch 0; the last batch may be smaller."""
        return batched(self._pairs(0, 0, self.pairs), batch_size)

    def statistics(self) -> tuple[Tensor, float]:
        """The mean (D,) of the features of some images, and their standard deviation from it (1 where all are equal).

        The images are those of the row groups that epoch 0 begins with, STATISTICS_IMAGES of them at most.
        """
        found: list[np.ndarray] = []
        for group in next(self._windows(0))[0]:
            found += self._features([group]).values()
            if len(found) >= STATISTICS_IMAGES:
                break
        sample = torch.from_numpy(np.concatenate(found[:STATISTICS_IMAGES]).astype(np.float32))
        mean = sample.mean(0)
        scale = float((sample - mean).square().mean().sqrt())
        return mean, scale or 1.0

    def images(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image once, in the order of `image_ids`, `size` at a time: features (B, R, D) float16, mask (B, R)."""
        for batch in batched(self._images(), size):
            yield batch.features, batch.region_mask

    def _images(self) -> Iterator[Pair]:
        for group, ids in enumerate(self.image_ids):
            features = self._features([group])
            for image_id in ids:
                yield image_id, Text([0]), features[image_id]
            del features  # before the next row group's are read

    def _pairs(self, epoch: int, position: int, end: int) -> Iterator[Pair]:
        """The pairs from `position` to `end` (exclusive) in an epoch's order; only the windows with them are read."""
        start = 0
        for groups, items in self._windows(epoch):
            low, high = max(position, start), min(end, start + len(items))
            if low < high:
                features = self._features(groups)
                for image_id, text in items[low - start : high - start]:
                    yield image_id, text, self._shown(image_id, text, features[image_id])
                del features  # before the next window's are read
            start += len(items)
            if start >= end:
                return

    def _shown(self, image_id: str, text: Text, features: np.ndarray) -> np.ndarray:
        """What of an image's features goes with a text; raises TableError where it names a region that is not there."""
        if not 0 <= text.region < len(features):
            raise TableError(
                f"{image_id}: a text describes region {text.region}, the regions table has {len(features)}: "
                "are segments and regions of the same extraction?"
            )
        if self.shown == "all":
            return features
        return features[sorted({0, text.region})] if self.shown == "whole" else features[text.region : text.region + 1]

    def _windows(self, epoch: int) -> Iterator[tuple[list[int], list[tuple[str, Text]]]]:
        rng = np.random.default_rng([self.seed, epoch])
        groups: list[int] = []
        held = 0
        order = rng.permutation(len(self.image_ids)).tolist()
        for number, group in enumerate(order):
            groups.append(group)
            held += len(self.image_ids[group])
            if held >= self.window_images or number == len(order) - 1:
                items = [(i, text) for group in groups for i in self.image_ids[group] for text in self.texts[i]]
                yield groups, [items[k] for k in rng.permutation(len(items))]
                groups, held = [], 0

    def _features(self, groups: Sequence[int]) -> dict[str, np.ndarray]:
        """The features of the row groups' images that have texts; copies, so that the file's own buffers are let go."""
        wanted = {image_id for group in groups for image_id in self.image_ids[group]}
        places: dict[int, set[int]] = {}
        for group in groups:
            if self.image_ids[group]:
                shard, within = self._row_groups[group]
                places.setdefault(shard, set()).add(within)
        found: dict[str, np.ndarray] = {}
        for shard, numbers in places.items():
            for _, batch in self.regions.row_groups(shard, ["image_id", "features"], numbers):
                arrays = feature_arrays(batch.column(1))
                for image_id, features in zip(batch.column(0).to_pylist(), arrays, strict=True):
                    if image_id in wanted:
                        found[image_id] = features[: self._most(image_id)].copy()
        return found

    def _most(self, image_id: str) -> int | None:
        """How many of an image's features are kept: unless all are shown, as many as its texts reach."""
        return None if self.shown == "all" else 1 + max(0, *(text.region for text in self.texts[image_id]))


def batched(pairs: Iterable[Pair], size: int) -> Iterator[Batch]:
    """Batches of `size` pairs; the last may be smaller."""
    return map(collate, chunks(pairs, size))


def collate(pairs: Sequence[Pair]) -> Batch:
    """A batch of (image_id, text, features (n, D))."""
    regions = max(len(features) for _, _, features in pairs)
    longest = max(len(text.words) for _, text, _ in pairs)
    features = np.zeros((len(pairs), regions, pairs[0][2].shape[1]), dtype=np.float16)
    mask = np.zeros((len(pairs), regions), dtype=bool)
    words = np.zeros((len(pairs), longest), dtype=np.int64)
    for row, (_, text, feature) in enumerate(pairs):
        features[row, : len(feature)] = feature
        mask[row, : len(feature)] = True
        words[row, : len(text.words)] = text.words
    read = [text.states for _, text, _ in pairs if text.states is not None]
    return Batch(
        torch.from_numpy(features),
        torch.from_numpy(mask),
        torch.from_numpy(words),
        torch.tensor([len(text.words) for _, text, _ in pairs]),
        torch.tensor([min(text.region, len(feature) - 1) for _, text, feature in pairs]),
        torch.tensor([key_of(image_id) for image_id, _, _ in pairs]),
        torch.tensor([text.key for _, text, _ in pairs]),
        torch.from_numpy(np.concatenate(read)) if read else None,
    )
