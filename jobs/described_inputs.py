"""What caption_images describes: pictures, or the regions of a table; planned by the driver, opened by the actors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import pyarrow as pa
import torch

from jobs.quarantine import PULSE, Lost
from vsalign.errors import ConfigurationError, InputError, Reason
from vsalign.generation.describe import regions_of_shard
from vsalign.images import (
    IMAGE_PLAN,
    DecodeOptions,
    ImageInput,
    ReadImage,
    ReadOptions,
    list_images,
    read_images,
)
from vsalign.images.decoders import DecoderOptions, Decoders
from vsalign.images.duplicates import content_hash
from vsalign.regions import ExtractorFiles, RegionExtractor, extractor_of, reads_boxes, settled, takes_boxes
from vsalign.regions.extract import Decode, Extracted, ExtractOptions, extract_images
from vsalign.regions.placement import Placement
from vsalign.storage import ShardWriter, TableReader

REGIONS_PLAN = pa.schema([("kind", pa.string()), ("region_shard", pa.int32())])
"""One row is a shard of the regions table, by position."""

Rows = list[dict[str, Any]]
Described = Iterator[Extracted | tuple[ReadImage, InputError]]


@dataclass(frozen=True)
class Plan:
    """The shards of an input."""

    shards: Iterable[Rows]
    schema: pa.Schema
    counts: dict[str, int]
    """What was skipped, once the shards are gone through."""
    facts: dict[str, Any]
    """What is recorded of the input: what changes a row."""
    described: DescribedInput
    """What the actors open: the input, with what the driver has settled."""


class OpenInput(Protocol):
    """An input in an actor."""

    @property
    def device(self) -> torch.device:
        """Where the describers are to be: with the extractor, if there is one."""

    def regions(self, rows: Rows, writer: ShardWriter, lost: Lost) -> Described:
        """Of a shard's rows; what is `lost` is an error. Skipped things are counted in the writer."""

    def one_by_one(self, rows: Rows) -> Iterator[tuple[str, Callable[[], Described]]]:
        """Each picture's URI, and what makes its regions alone."""


class DescribedInput(Protocol):
    """As it travels to the actors."""

    @property
    def uses_gpus(self) -> bool:
        """Whether a GPU is of use."""

    def plan(self) -> Plan:
        """The shards; raises VsalignError at once where the input is not there or does not fit the model."""

    def open(self) -> OpenInput:
        """What makes regions of a shard's rows of the plan; the extractor is loaded."""


@dataclass(frozen=True)
class Pictures:
    """Pictures, whose regions are extracted as the model's were."""

    source: ImageInput
    reading: ReadOptions
    extraction: ExtractOptions
    decoders: DecoderOptions
    identity: dict[str, Any]
    """Of the extractor that the model was trained on."""
    files: ExtractorFiles
    """What that extractor reads, and where it runs."""

    @property
    def uses_gpus(self) -> bool:
        """Unless the person said otherwise."""
        return self.files.device != "cpu"

    def extractor(self) -> RegionExtractor:
        """The extractor, its weights loaded and compared."""
        if reads_boxes(self.identity) and not self.files.boxes:
            raise ConfigurationError(
                "the model was trained on given boxes: name a COCO JSON or a regions table with --extractor.boxes"
            )
        if self.files.boxes and not takes_boxes(str(self.identity.get("name"))):
            name = self.identity.get("name")
            raise ConfigurationError(
                f"--extractor.boxes: the model was trained on the boxes of {name}, which finds its own; leave it out"
            )
        return extractor_of(self.identity, self.files)

    def plan(self) -> Plan:
        """The shards of the listing."""
        listing = list_images(self.source)
        extractor = self.extractor()
        counts: dict[str, int] = {}
        facts = {
            **listing.facts(),
            "max_pixels": self.extraction.max_pixels,
            "precision": self.files.precision,
            "runtime": extractor.runtime,
            "boxes_sha256": getattr(extractor, "boxes_sha256", ""),
        }
        files = settled(self.files, extractor)
        return Plan(listing.counted(counts), IMAGE_PLAN, counts, facts, replace(self, files=files))

    def open(self) -> OpenPictures:
        """The extractor loaded, the decoding processes ready."""
        extractor = self.extractor()
        options = DecodeOptions(self.extraction.max_pixels, extractor.least_side)
        decode = Decoders(self.decoders, options) if self.decoders.processes else None
        return OpenPictures(self, extractor, decode)


@dataclass(frozen=True)
class OpenPictures:
    """Reads, decodes and extracts."""

    pictures: Pictures
    extractor: RegionExtractor
    decode: Decode | None

    @property
    def device(self) -> torch.device:
        """The extractor's."""
        return self.pictures.files.placement().device

    def regions(self, rows: Rows, writer: ShardWriter, lost: Lost) -> Described:
        """Of a shard's rows."""
        images = read_images(rows, self.pictures.reading, writer.counts)
        yield from self._extracted(self._admitted(image, lost) for image in images)

    def one_by_one(self, rows: Rows) -> Iterator[tuple[str, Callable[[], Described]]]:
        """Each picture's URI, and what makes its regions alone."""
        for image in read_images(rows, self.pictures.reading):
            yield image.uri, partial(self._extracted, [image])

    def _extracted(self, images: Iterable[ReadImage]) -> Described:
        for each in extract_images(images, self.extractor, self.pictures.extraction, self.decode):
            PULSE.beat()
            yield each

    def _admitted(self, image: ReadImage, lost: Lost) -> ReadImage:
        """With its hash; one that is lost with its error."""
        if image.uri in lost and not image.archive_level:
            return replace(image, data=None, error=InputError(Reason.CRASHED, lost[image.uri], image.uri))
        return image if image.data is None else replace(image, content_hash=content_hash(image.data))


@dataclass(frozen=True)
class RegionsOfTable:
    """The regions of a table, as they are; no picture is read."""

    url: str
    identity: dict[str, Any]
    """Of the extractor that the model was trained on."""
    model: str
    """The model's folder, for messages."""

    uses_gpus = True

    def plan(self) -> Plan:
        """One shard a shard of the table."""
        table = TableReader(self.url, "regions")
        table.require_extractor(self.identity, needed_by=f"the model {self.model}")
        shards = ([{"kind": "regions", "region_shard": shard}] for shard in range(len(table.shards)))
        return Plan(shards, REGIONS_PLAN, {}, {"regions": table.facts()}, self)

    def open(self) -> OpenTable:
        """The table opened."""
        return OpenTable(TableReader(self.url, "regions"))


@dataclass(frozen=True)
class OpenTable:
    """Reads the table."""

    table: TableReader

    @property
    def device(self) -> torch.device:
        """A GPU, where the actor has one."""
        return Placement.of().device

    def regions(self, rows: Rows, writer: ShardWriter, lost: Lost) -> Described:
        """Of a shard's rows."""
        for each in self._extracted(rows):
            PULSE.beat()
            if each.uri in lost:
                error = InputError(Reason.CRASHED, lost[each.uri], each.uri)
                yield ReadImage(each.image_id, each.uri, error=error), error
            else:
                yield each

    def one_by_one(self, rows: Rows) -> Iterator[tuple[str, Callable[[], Described]]]:
        """Each picture's URI, and its regions."""
        for each in self._extracted(rows):
            yield each.uri, partial(iter, [each])

    def _extracted(self, rows: Rows) -> Iterator[Extracted]:
        for row in rows:
            yield from regions_of_shard(self.table, row["region_shard"])
