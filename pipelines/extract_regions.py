"""Photographs -> regions/ (Beam): the boxes of every picture and a feature of each.

python -m pipelines.extract_regions --images DIR --output URL
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam

from pipelines.commit import CommitShard
from pipelines.launch import Engine, LaunchOptions, is_complete, leave
from pipelines.report import print_summary
from vsalign import tables
from vsalign.command import exit_status
from vsalign.errors import ConfigurationError, ModelError
from vsalign.images import IMAGE_PLAN, Listing, ReadOptions, list_images, read_images
from vsalign.images.options import PictureOptions
from vsalign.options import parse
from vsalign.regions import ExtractorConfig, RegionExtractor, build_extractor, said, settled
from vsalign.regions.extract import ExtractOptions, extract_shard
from vsalign.storage import Output, ShardResult, ShardTask, begin

PROG = "python -m pipelines.extract_regions"
STAGE = "extract_regions"


@dataclass(frozen=True, kw_only=True)
class Options(ExtractOptions, PictureOptions, LaunchOptions):
    """What extract_regions is told."""

    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    shard_size: int = 256
    """Pictures in one shard, the unit of work and of resume; an archive is always one shard. A guess: about half a
    minute of one core's extraction, which is what a killed worker loses."""

    refresh: bool = False
    """List --images again, and extract also what was not there when the table was planned."""

    def __post_init__(self) -> None:
        ExtractOptions.__post_init__(self)
        LaunchOptions.__post_init__(self)
        if self.shard_size < 1:
            raise ConfigurationError(f"--shard-size {self.shard_size}: give at least 1")

    @property
    def extraction(self) -> ExtractOptions:
        """The part that workers need."""
        return ExtractOptions(self.batch_size, self.threads, self.decode_threads, self.max_pixels, self.on_error)


class ExtractShard(CommitShard):
    """From one shard of pictures to one committed shard of the regions table."""

    def __init__(
        self, output: Output, extractor: ExtractorConfig, options: ExtractOptions, reading: ReadOptions
    ) -> None:
        self.output, self.extractor, self.options, self.reading = output, extractor, options, reading

    def commit(self, task: ShardTask) -> ShardResult:
        """Extract the pictures of one shard; raises ModelError where the extractor here is not the driver's."""
        extractor = load_extractor(self.extractor)
        here = facts(extractor)
        there = (self.output.properties["extractor"], self.output.configuration["boxes_sha256"])
        if here != there:
            raise ModelError(
                f"a worker's extractor is {here}, that of the machine which started the run {there}: give all machines "
                "the same weights and boxes"
            )
        writer = self.output.open_shard(task)
        images = read_images(self.output.read_plan(task), self.reading, writer.counts)
        return extract_shard(images, extractor, self.options, writer)


_LOADING = threading.Lock()
_loaded: dict[ExtractorConfig, RegionExtractor] = {}


def load_extractor(config: ExtractorConfig) -> RegionExtractor:
    """The extractor, one a process, however many threads and DoFns Beam makes there: the driver's serves them too."""
    with _LOADING:
        if config not in _loaded:
            _loaded.clear()
            extractor = build_extractor(config)
            _loaded.update({config: extractor, settled(config, extractor): extractor})
        return _loaded[config]


def facts(extractor: RegionExtractor) -> tuple[dict[str, Any], str]:
    """What makes an extractor's rows its own: its identity, and the SHA-256 of the boxes it was given."""
    return extractor.identity(), getattr(extractor, "boxes_sha256", "")


def extract_regions(argv: Sequence[str] | None = None) -> int:
    """Extract the regions that `argv` asks for, and return the exit status."""
    about = "Writes the regions table: the boxes of every picture and a feature of each."
    options, rest = parse(Options, argv, prog=PROG, description=about, allow_unknown=True)
    engine = Engine.of(rest, options, PROG)
    listing = list_images(options.source(options.shard_size))
    _loaded.clear()  # a caller's earlier run may have read other files of the same names
    extractor = load_extractor(options.extractor)
    print(said(extractor), file=sys.stderr)
    identity, boxes_sha256 = facts(extractor)

    output = Output(
        url=options.output,
        table="regions",
        schema=tables.regions_schema(extractor.dim),
        stage=STAGE,
        configuration=configuration(options, listing, boxes_sha256, extractor.runtime),
        properties={"extractor": identity},
    )
    counts: dict[str, int] = {}
    how = {"overwrite": options.overwrite, "refresh": options.refresh}
    stage = begin(engine.place(output), lambda: engine.reachable(listing.counted(counts)), IMAGE_PLAN, counts, **how)
    tasks = stage.pending()
    if is_complete(stage, tasks) and not engine.must_submit:
        title = f"{STAGE}: the table was complete, nothing was done"
        return print_summary(title, options.output, "images", None)

    already = stage.inputs_done(tasks)

    def graph(pipeline: beam.Pipeline) -> beam.PCollection:
        shards = pipeline | "Shards" >> beam.Create(tasks) | "Spread" >> beam.Reshuffle()
        return shards | "Extract" >> beam.ParDo(
            ExtractShard(output, settled(options.extractor, extractor), options.extraction, options.reading)
        )

    if not engine.run(graph, stage, tasks, "images"):
        return 0
    stage.finish()
    return print_summary(f"{STAGE} finished", options.output, "images", already)


def configuration(options: Options, listing: Listing, boxes_sha256: str, runtime: str) -> dict[str, Any]:
    """What changes a row, beside the extractor's identity: not the workers, the runner or the decoding threads."""
    return {
        **listing.facts(),
        **{name: getattr(options, name) for name in ("batch_size", "threads", "max_pixels")},
        "boxes_sha256": boxes_sha256,
        "precision": options.extractor.precision,
        "runtime": runtime,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (vsalign.command.exit_status)."""
    return exit_status(lambda: extract_regions(argv))


if __name__ == "__main__":
    # Workers import the DoFn by its module's name, which __main__ is not.
    from pipelines import extract_regions as module

    leave(module.main())
