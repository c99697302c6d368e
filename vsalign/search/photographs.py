"""From a folder of photographs to an index in one command: regions, descriptions, index, in this process.

The tables are those that the stages make on clusters. Killed and started again it goes on; at each start it takes in
what has come since.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from vsalign import tables
from vsalign.allocator import keep_freed_memory, return_freed_memory
from vsalign.checkpoint import LoadedModel, load_model
from vsalign.errors import ConfigurationError, InputError, ModelError, TableError
from vsalign.generation.describe import DescribeOptions, Describer, describe_shard
from vsalign.images import IMAGE_PLAN, ImageInput, Listing, ReadImage, list_images, read_images
from vsalign.images.locations import LOCAL, canonical, lies_within, protocol_of
from vsalign.photograph import model_folders, require_same_extractor
from vsalign.progress import Progress
from vsalign.regions import ExtractorFiles, RegionExtractor, extractor_of
from vsalign.regions.extract import Extracted, ExtractOptions, RegionsShard, extract_images
from vsalign.search.building import IndexOptions, build_index, lost_regions, searching_model
from vsalign.storage import Folder, Output, ShardTask, Stage, TableReader, begin, follow, pending_together
from vsalign.storage.claim import read_json
from vsalign.storage.layout import RUN

STAGE = "serve"
SHARD = 64
"""Photographs that a killed run may lose: some ten seconds of two cores."""
BATCH = 16

Found = Iterator[Extracted | tuple[ReadImage, InputError]]


def holds_index(url: str) -> bool:
    """Whether there is an index at `url`; raises TableError where there is another table."""
    if not os.path.isdir(url) and protocol_of(url) == LOCAL:
        return False
    folder = Folder(url)
    if not folder.exists(RUN):
        return False
    table = read_json(folder, RUN, "table")["table"]
    if table != "index":
        raise TableError(f"{folder.url} holds a {table} table: make an index of regions first (vsalign index)")
    return True


def work_folder(images: str) -> str:
    """NAME.vsalign in the current directory, or, where that belongs to the archive, beside the archive."""
    place = canonical(os.path.expanduser(images))
    name = f"{os.path.basename(place) or 'photographs'}.vsalign"
    here = os.getcwd()
    return os.path.join(os.path.dirname(place) if _within(here, place) else here, name)


def index_of_photographs(images: str, *, work: str = "", model: str = "", captions: bool = True) -> str:
    """The index of pictures, made, or brought up to date, below the folder `work`; returns its URL.

    model: folder of the alignment model; empty: the packaged one. Raises VsalignError where pictures or models are not
    there, or `work` holds what was made otherwise.
    """
    work = os.path.abspath(work or work_folder(images))
    place = canonical(os.path.expanduser(images))
    if _within(work, place):
        raise ConfigurationError(f"--work {work} lies among the pictures: give a folder outside of {place}")
    listing = list_images(ImageInput(images, shard_size=SHARD))
    searching = searching_model(model)
    describers = _describers(searching) if captions else None
    print(f"indexing {images} into {work}", file=sys.stderr)
    try:
        Making(work, searching, listing, describers).tables()
        return _index(work, searching, captions)
    except ConfigurationError as error:
        remedy = "give the same options, or another folder by --work"
        text = str(error).replace("give the same options, another --output, or --overwrite", remedy)
        raise ConfigurationError(text) from error


def _index(work: str, searching: LoadedModel, captions: bool) -> str:
    """Index the tables below `work`; returns where."""
    output = f"{work}/index" if captions else f"{work}/index-without-captions"
    regions = f"{work}/regions"
    again = lost_regions(output, TableReader(regions, "regions"))
    options = IndexOptions(
        regions=regions,
        output=output,
        dim=IndexOptions.dim if IndexOptions.dim < searching.model.config.h else 0,
        model=searching.url,
        descriptions=f"{work}/descriptions" if captions else "",
        refresh=not again,
        overwrite=again,
    )
    build_index(options)
    return output


@dataclass(frozen=True)
class Making:
    """The tables of some pictures, of one plan and one pass over the pixels."""

    work: str
    searching: LoadedModel
    listing: Listing
    describers: tuple[LoadedModel, LoadedModel] | None
    """Of whole pictures and of regions; None: pictures are not described."""

    def tables(self) -> None:
        """Make what is missing of regions and descriptions."""
        extractor = extractor_of(self.searching.extractor, ExtractorFiles())
        counts: dict[str, int] = {}
        regions = self._regions(extractor)
        stage = begin(regions, lambda: self.listing.counted(counts), IMAGE_PLAN, counts, overwrite=False, refresh=True)
        stages = [stage]
        if self.describers:
            stages.append(Stage(self._descriptions(self.describers)))
            follow(stages[1], stage)
        tasks = pending_together(stages)
        keep_freed_memory()
        with Progress(stage.planned_inputs(tasks), "photographs", label="looking at them") as progress:
            for task in tasks:
                self._shard(task, stages, extractor, progress)
                return_freed_memory()
        for each in stages:
            each.finish()

    def _regions(self, extractor: RegionExtractor) -> Output:
        configuration = {**self.listing.facts(), "batch_size": BATCH, "runtime": extractor.runtime}
        schema = tables.regions_schema(extractor.dim)
        return Output(
            f"{self.work}/regions", "regions", schema, STAGE, configuration, {"extractor": extractor.identity()}
        )

    def _descriptions(self, describers: tuple[LoadedModel, LoadedModel]) -> Output:
        whole, regions = describers
        weights = {"model": whole.weights_sha256, "region_model": regions.weights_sha256}
        configuration = {**self.listing.facts(), **weights, **asdict(DescribeOptions(max_regions=0))}
        properties = {"extractor": self.searching.extractor}
        url = f"{self.work}/descriptions"
        return Output(url, "descriptions", tables.DESCRIPTIONS, STAGE, configuration, properties)

    def _shard(self, task: ShardTask, stages: list[Stage], extractor: RegionExtractor, progress: Progress) -> None:
        """Commit one shard of each table, the regions first."""
        outputs = [stage.output for stage in stages]
        writer = outputs[0].open_shard(task)
        pictures = read_images(outputs[0].read_plan(task), counts=writer.counts)
        options = ExtractOptions(batch_size=BATCH)
        found = _counted(extract_images(pictures, extractor, options), RegionsShard(writer, BATCH), progress)
        if self.describers is None:
            for _ in found:
                pass
            return
        whole, regions = self.describers
        describer = Describer(
            (whole.model, whole.vocabulary), (regions.model, regions.vocabulary), DescribeOptions(max_regions=0)
        )
        describe_shard(found, describer.describe, BATCH, outputs[1].open_shard(task))


def _counted(found: Found, shard: RegionsShard, progress: Progress) -> Found:
    """The same, in a shard of the regions table too, which is committed at the end, and shown as progress."""
    for each in found:
        shard.add(each)
        progress.add(1, isinstance(each, tuple))
        yield each
    shard.commit()


def _describers(searching: LoadedModel) -> tuple[LoadedModel, LoadedModel]:
    """The packaged describers; raises ModelError where they read another extractor's regions."""
    whole, regions = (load_model(url, "describer") for url in model_folders("", ""))
    require_same_extractor(whole, regions)
    if whole.extractor != searching.extractor:
        raise ModelError(
            f"the packaged describers read another extractor's regions than {searching.url}: add --no-captions"
        )
    return whole, regions


def _within(path: str, folder: str) -> bool:
    return os.path.isdir(folder) and lies_within(path, folder)
