"""Photographs -> descriptions/ (Ray Data): a sentence for each picture and its regions, in one pass over the pixels.

python -m jobs.caption_images --images DIR --model DIR --output URL

With --regions URL in place of --images the regions are those of a table, and no picture is read.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from jobs.described_inputs import Described, DescribedInput, OpenInput, Pictures, Plan, RegionsOfTable, Rows
from jobs.duplicates import copies_last, deduplicated
from jobs.inputs import everywhere, load_recorded, model_facts
from jobs.kept_regions import KeptRegions, beside_of, keeping, kept_regions
from jobs.quarantine import Lost, Made, Maker
from jobs.shards import ShardOptions, ShardWork, make_shards
from vsalign import tables
from vsalign.allocator import return_freed_memory
from vsalign.checkpoint import LoadedModel
from vsalign.command import exit_status
from vsalign.errors import ConfigurationError
from vsalign.exports import Exports, export
from vsalign.generation.describe import DescribeOptions, Describer, describe_shard, in_float16
from vsalign.images import list_images
from vsalign.images.decoders import DecoderOptions
from vsalign.images.options import PictureOptions
from vsalign.options import parse
from vsalign.photograph import model_folders, require_same_extractor, together
from vsalign.regions import ExtractorFiles
from vsalign.regions.extract import Extracted, ExtractOptions, RegionsShard
from vsalign.storage import Output, ShardTask, TableReader, begin

PROG = "python -m jobs.caption_images"
STAGE = "caption_images"


@dataclass(frozen=True, kw_only=True)
class Options(DescribeOptions, PictureOptions, KeptRegions, ShardOptions):
    """What caption_images is told."""

    model: str = ""
    """Folder of the describer of whole pictures; empty: that of the distribution vsalign-models."""
    ensemble: tuple[str, ...] = ()
    """Folders of further describers of whole pictures, of the same vocabulary: a word is as likely as on the mean of
    all of them."""
    region_model: str = ""
    """Folder of the describer of regions; empty: the packaged one, or the same where --model is given."""
    images: str = ""
    """Folder, glob, archive (.tar, .tar.gz, .zip), Parquet or Arrow file with a bytes column, list of URIs (.txt), or
    one picture; a path or a URL such as gs://bucket/photos. Or name --regions."""
    regions: str = ""
    """Regions table, of the extractor that the model was trained on, in place of --images."""
    shard_size: int = 256
    """Pictures in one shard, the unit of work and of resume; an archive is always one shard."""
    extractor: ExtractorFiles = field(default_factory=ExtractorFiles)
    """Of the extractor that the model was trained on; which one it is, the model says."""
    dedup: bool = False
    """Describe pictures of equal bytes once, and give all of them that row: all are read before, to be hashed into the
    table OUTPUT-hashes."""
    refresh: bool = False
    """List --images again, and describe also what was not there when the table was planned."""
    batch_size: int = 16
    """Pictures a pass of the network; batches never cross a shard."""
    export: Exports = field(default_factory=Exports)
    """Other forms of the finished table (`vsalign export` writes them later)."""
    decoders: DecoderOptions = field(default_factory=DecoderOptions)
    """What decodes pictures beside the network."""
    max_pixels: int = ExtractOptions.max_pixels
    """A picture that announces more is refused (TOO_LARGE) before it is decoded."""

    def __post_init__(self) -> None:
        DescribeOptions.__post_init__(self)
        ShardOptions.__post_init__(self)
        if bool(self.images) == bool(self.regions):
            raise ConfigurationError("say what to describe by --images or by --regions, and not by both")
        if self.regions and self.extractor != ExtractorFiles():
            raise ConfigurationError("--extractor.… options are for --images: a regions table has features")
        if self.keep_regions and self.regions:
            raise ConfigurationError("--keep-regions is for --images: --regions is such a table already")
        if self.dedup and (self.regions or self.refresh):
            raise ConfigurationError("--dedup is for --images, all at once: leave out --regions and --refresh")
        if self.refresh and self.regions:
            raise ConfigurationError("--refresh is for --images: a regions table that grew is another one")
        if self.shard_size < 1:
            raise ConfigurationError(f"--shard-size {self.shard_size}: give at least 1")
        _ = self.extraction  # it refuses impossible numbers

    @property
    def describing(self) -> DescribeOptions:
        """The part that the describer needs."""
        return DescribeOptions(self.decode, self.region_beam, self.max_regions)

    @property
    def extraction(self) -> ExtractOptions:
        """The part that the extraction needs."""
        threads = self.decoders.processes or ExtractOptions.decode_threads
        return ExtractOptions(self.batch_size, self.cpus_per_actor, threads, self.max_pixels)

    def described_input(self, trained: LoadedModel) -> DescribedInput:
        """What is described, by a model that was trained on its extractor's features."""
        if self.regions:
            return RegionsOfTable(everywhere(self.regions, "--regions"), trained.extractor, trained.url)
        return Pictures(
            self.source(self.shard_size),
            self.reading,
            self.extraction,
            self.decoders,
            trained.extractor,
            self._files(),
        )

    def planned(self, plan: Plan, output: str) -> Iterable[Rows]:
        """The shards of a plan, those of copies last where there are any."""
        if not self.dedup:
            return plan.shards
        return deduplicated(output, list_images(self.source(self.shard_size)), self.reading, self, plan.counts)

    def _files(self) -> ExtractorFiles:
        """The extractor's files, by names that mean the same on every machine."""
        files = self.extractor
        weights, model = (os.path.abspath(one) if os.path.exists(one) else one for one in (files.weights, files.model))
        boxes = files.boxes and everywhere(files.boxes, "--extractor.boxes")
        return replace(files, weights=weights, model=model, boxes=boxes)


@dataclass(frozen=True)
class Models:
    """Where the two describers are."""

    whole: str
    regions: str
    others: tuple[str, ...] = ()
    """Which whole pictures are described by too."""

    def facts(self) -> dict[str, Any]:
        """What is recorded of them."""
        return {
            "model": model_facts(self.whole, "describer"),
            "region_model": model_facts(self.regions, "describer"),
            "ensemble": [model_facts(url, "describer") for url in self.others],
        }

    def load(self, facts: Mapping[str, Any]) -> tuple[LoadedModel, LoadedModel]:
        """Both, loaded once where they are the same; the first is all that describe whole pictures together.

        Raises WrongExtractorError where their extractors differ, ModelError where the vocabularies of an ensemble do.
        """
        whole = load_recorded(self.whole, "describer", facts["model"])
        same = self.regions == self.whole
        regions = whole if same else load_recorded(self.regions, "describer", facts["region_model"])
        require_same_extractor(whole, regions)
        if self.others:
            recorded = zip(self.others, facts["ensemble"], strict=True)
            others = [load_recorded(url, "describer", fact) for url, fact in recorded]
            whole = together(whole, others)
        return whole, regions


@dataclass(frozen=True)
class CaptionShards(ShardWork):
    """What an actor does: the pictures of one shard, or the regions of one, into a shard of descriptions."""

    output: Output
    described: DescribedInput
    models: Models
    options: DescribeOptions
    batch_size: int
    kept: Output | None
    """The regions table beside."""

    @property
    def uses_gpus(self) -> bool:
        """Where what is described has use for them."""
        return self.described.uses_gpus

    def load(self) -> CaptionMaker:
        """Load the models and the extractor."""
        whole, regions = self.models.load(self.output.configuration)
        describer = Describer((whole.model, whole.vocabulary), (regions.model, regions.vocabulary), self.options)
        described = self.described.open()
        return CaptionMaker(self.output, described, describer.to(described.device), self.batch_size, self.kept)


@dataclass(frozen=True)
class CaptionMaker(Maker):
    """The same with what it needs loaded."""

    output: Output
    described: OpenInput
    describer: Describer
    batch_size: int
    kept: Output | None

    def __call__(self, task: ShardTask, lost: Lost) -> Made:
        """Commit a shard of descriptions."""
        writer, said = self.output.open_shard(task), Counter[str]()

        def describe(images: Sequence[Extracted]) -> list[dict[str, Any]]:
            rows = self.describer.describe(images)
            said.update(row["caption"] for row in rows)
            return_freed_memory()
            return rows

        images = self.described.regions(self.output.read_plan(task), writer, lost)
        if self.kept:
            images = keeping(images, RegionsShard(self.kept.open_shard(task), self.batch_size), writer)
        result = describe_shard(images, describe, self.batch_size, writer)
        return Made(result, *next(iter(said.most_common(1)), ("", 0)))

    def one_by_one(self, task: ShardTask) -> Iterator[tuple[str, Callable[[], None]]]:
        """Each picture's URI, and what extracts and describes it."""
        for uri, regions in self.described.one_by_one(self.output.read_plan(task)):
            yield uri, partial(self._described, regions)

    def _described(self, regions: Callable[[], Described]) -> None:
        for each in regions():
            if isinstance(each, Extracted):
                self.describer.describe([in_float16(each)])


def caption_images(argv: Sequence[str] | None = None) -> int:
    """Describe the pictures that `argv` names, and return the exit status."""
    about = "Writes the descriptions table: a sentence for each picture and for its regions."
    options = parse(Options, argv, prog=PROG, description=about)
    whole, regions = model_folders(options.model, options.region_model)
    others = tuple(everywhere(url, "--ensemble") for url in options.ensemble)
    models = Models(everywhere(whole, "--model"), everywhere(regions, "--region-model"), others)
    facts = models.facts()
    trained, _ = models.load(facts)
    plan = options.described_input(trained).plan()
    output = Output(
        url=everywhere(options.output, "--output"),
        table="descriptions",
        schema=tables.DESCRIPTIONS,
        stage=STAGE,
        configuration={
            **plan.facts,
            **facts,
            **asdict(options.describing),
            "batch_size": options.batch_size,
            "threads": options.cpus_per_actor,
            **({"dedup": True} if options.dedup else {}),
        },
        properties={"extractor": trained.extractor},
    )
    kept = kept_regions(options.keep_regions, output, overwrite=options.overwrite)
    how = {"overwrite": options.overwrite, "refresh": options.refresh}
    listed = partial(options.planned, plan, output.url)
    stage = begin(output, listed, plan.schema, plan.counts, **how)
    beside = beside_of(stage, kept, overwrite=options.overwrite)
    work = CaptionShards(output, plan.described, models, options.describing, options.batch_size, kept)
    status = make_shards(stage, work, options, "images", partial(copies_last, [stage, *beside], work), beside)
    for line in export(TableReader(output.url, "descriptions"), options.export):
        print(line)
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (vsalign.command.exit_status)."""
    return exit_status(lambda: caption_images(argv))


if __name__ == "__main__":
    # Actors import their work by its module's name, which __main__ is not.
    from jobs import caption_images as module

    sys.exit(module.main())
