"""Regions of images -> descriptions of each whole image and of its regions (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from vsalign import tables
from vsalign.errors import ConfigurationError, InputError, Reason
from vsalign.generation.decode import DecodeOptions, beam_search
from vsalign.generation.network import DescriberNetwork
from vsalign.images import ReadImage
from vsalign.padding import padded
from vsalign.regions.base import Regions, to_float16
from vsalign.regions.extract import Extracted
from vsalign.storage import ShardResult, ShardWriter, TableReader
from vsalign.tables import feature_arrays
from vsalign.text import Vocabulary

HYPOTHESES = 2048
"""Hypotheses that one search holds: their next words' probabilities take 4 bytes a word of the vocabulary each."""
ENCODED = 256
"""Images whose features are encoded at once."""


@dataclass(frozen=True)
class DescribeOptions:
    """How images and their regions are described."""

    decode: DecodeOptions = field(default_factory=DecodeOptions)
    """Of the whole image."""
    region_beam: int = 1
    """Hypotheses kept at each step of a region's sentence; 1 is the argmax, and a fraction of the time."""
    max_regions: int = 20
    """Regions described beside the whole image, the first ones in the extractor's order; 0: none."""

    def __post_init__(self) -> None:
        if self.region_beam < 1 or self.max_regions < 0:
            raise ConfigurationError(
                f"region_beam {self.region_beam}, max_regions {self.max_regions}: at least 1 and 0"
            )


@dataclass(frozen=True)
class Sentence:
    """A description."""

    caption: str
    """Words joined by blanks; no special token is ever among them."""
    log_prob: float
    """Natural log of the sentence's probability."""
    finished: bool
    """Whether it ended by itself, within `max_words`."""


class Describer:
    """Two describers at work on images: one for the whole image, one (or the same) for its regions."""

    def __init__(
        self,
        whole: tuple[DescriberNetwork, Vocabulary],
        regions: tuple[DescriberNetwork, Vocabulary] | None = None,
        options: DescribeOptions | None = None,
    ) -> None:
        self.whole, self.regions = whole, regions or whole
        self.options = options or DescribeOptions()

    def to(self, device: torch.device) -> Describer:
        """The same, its networks on a device."""
        for network, _ in (self.whole, self.regions):
            network.to(device)
        return self

    def describe(self, images: Sequence[Extracted]) -> list[dict[str, Any]]:
        """Rows of the descriptions table, in order; region 0, the whole image, has the caption and is not repeated."""
        features = [image.regions.features for image in images]
        captions = sentences_of(*self.whole, features, [range(1)] * len(images), self.options.decode)
        described = slice(1, 1 + self.options.max_regions)
        own = [range(len(each))[described] for each in features]
        for_regions = replace(self.options.decode, beam=self.options.region_beam)
        phrases = sentences_of(*self.regions, features, own, for_regions)
        return [
            _row(image, caption, image.regions.boxes[described], image.regions.scores[described], regions)
            for image, (caption,), regions in zip(images, captions, phrases, strict=True)
        ]


def sentences_of(
    network: DescriberNetwork,
    vocabulary: Vocabulary,
    features: Sequence[np.ndarray],
    described: Sequence[Sequence[int]],
    options: DecodeOptions,
) -> list[list[Sentence]]:
    """A sentence for each of the `described` regions of each image; features (n, D) of each image's regions.

    Images are encoded once, ENCODED at a time, and their views searched together, HYPOTHESES at a time.
    """
    found: list[list[Sentence]] = []
    network.eval()
    for start in range(0, len(features), ENCODED):
        some = slice(start, start + ENCODED)
        with torch.inference_mode():
            context = network.encode(*(each.to(network.mean.device) for each in padded(features[some])))
        rows = [row for row, regions in enumerate(described[some]) for _ in regions]
        regions = [region for each in described[some] for region in each]
        sentences: list[Sentence] = []
        step = max(1, HYPOTHESES // options.beam)
        for first in range(0, len(rows), step):
            own = torch.tensor(rows[first : first + step], device=network.mean.device)
            which = torch.tensor(regions[first : first + step], device=network.mean.device)
            words, log_probs, finished = beam_search(network, tuple(each[own] for each in context), which, options)
            texts = [" ".join(vocabulary.decode(ids)) for ids in words]
            sentences += map(Sentence, texts, log_probs, finished)
        each_one = iter(sentences)
        found += [[next(each_one) for _ in each] for each in described[some]]
    return found


def _row(
    image: Extracted, whole: Sentence, boxes: np.ndarray, scores: np.ndarray, regions: Sequence[Sentence]
) -> dict[str, Any]:
    return {
        "image_id": image.image_id,
        "uri": image.uri,
        "width": image.width,
        "height": image.height,
        "content_hash": image.content_hash or None,
        "caption": whole.caption,
        "log_prob": whole.log_prob,
        "finished": whole.finished,
        "regions": [
            {"box": box, "score": score, "caption": region.caption, "log_prob": region.log_prob}
            for box, score, region in zip(boxes.tolist(), scores.tolist(), regions, strict=True)
        ],
    }


def describe_shard(
    images: Iterable[Extracted | tuple[ReadImage, InputError]],
    describe: Callable[[Sequence[Extracted]], list[dict[str, Any]]],
    batch_size: int,
    writer: ShardWriter,
) -> ShardResult:
    """Describe the images of one shard into the descriptions table, and commit it.

    describe: as Describer.describe.

    What cannot be used comes with its error, becomes an error row, and is in no batch of `batch_size` images.
    """
    inputs = 0
    batch: list[Extracted] = []

    def refuse(uri: str, error: InputError, archive_level: bool = False) -> None:
        row = tables.error_row(uri, writer.output.stage, error.reason, error.message)
        writer.add_error(row, archive_level=archive_level)

    for image in images:
        if isinstance(image, tuple):
            read, error = image
            inputs += not read.archive_level
            refuse(read.uri, error, read.archive_level)
            continue
        inputs += 1
        try:
            batch.append(in_float16(image))
        except InputError as error:
            refuse(image.uri, error)
        if len(batch) == batch_size:
            writer.write(describe(batch))
            batch = []
    if batch:
        writer.write(describe(batch))
    return writer.commit(inputs)


def in_float16(image: Extracted) -> Extracted:
    """The image with its features as the regions table holds them, and as the models were trained on them.

    Raises InputError: NOT_FINITE where they do not fit, NO_BOXES where it has not even the whole image's region.
    """
    if not len(image.regions.features):
        raise InputError(Reason.NO_BOXES, f"{image.uri}: it has no regions, not even the whole image", image.uri)
    return replace(image, regions=replace(image.regions, features=to_float16(image.regions.features, image.uri)))


def regions_of_shard(regions: TableReader, shard: int) -> Iterator[Extracted]:
    """The images of one shard (by position) of a regions table, in its order."""
    columns = ["image_id", "uri", "width", "height", "boxes", "scores", "features"]
    for batch in regions.batches(columns, [shard]):
        features = feature_arrays(batch.column("features"))
        for row, feature in zip(batch.drop_columns(["features"]).to_pylist(), features, strict=True):
            boxes = np.array(row["boxes"], dtype=np.float32).reshape(-1, 4)
            scores = np.array(row["scores"], dtype=np.float32)
            found = Regions(boxes, scores, feature)
            yield Extracted(row["image_id"], row["uri"], row["width"], row["height"], found)
