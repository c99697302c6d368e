"""Captions file -> captions/ (Beam): which picture each sentence belongs to, its split, its words.

python -m pipelines.prepare_captions --captions FILE --images DIR --output URL
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import apache_beam as beam

from pipelines.commit import CommitShard
from pipelines.launch import Engine, LaunchOptions, is_complete, leave
from pipelines.report import print_summary
from vsalign import tables
from vsalign.command import exit_status
from vsalign.datasets.captions import read_captions
from vsalign.datasets.files import open_bytes
from vsalign.datasets.flickr import find_split_lists
from vsalign.datasets.prepare import (
    CAPTION_PLAN,
    ImageNames,
    PlannedCaptions,
    captions_per_image,
    plan_captions,
    prepare_shard,
)
from vsalign.datasets.records import CaptionRecord, Reading
from vsalign.errors import ConfigurationError, Reason
from vsalign.images import list_images, read_images
from vsalign.images.options import PictureOptions
from vsalign.options import parse
from vsalign.storage import Output, ShardResult, ShardTask, TableReader, begin

PROG = "python -m pipelines.prepare_captions"
STAGE = "prepare_captions"

WORDLESS_SHARE = 0.01
"""Share of captions without a word above which something is wrong with the file; cases.md."""


@dataclass(frozen=True)
class SplitLists:
    """Lists of image names, one a line, of captions files that have no splits of their own (Flickr's)."""

    train: str = ""
    """Empty, all four: the published lists beside the captions file."""
    tune: str = ""
    """As --splits.train."""
    dev: str = ""
    """As --splits.train."""
    test: str = ""
    """As --splits.train."""

    def given(self) -> dict[str, str] | None:
        """split -> list file; None where no list is named."""
        return {split: path for split, path in vars(self).items() if path} or None


@dataclass(frozen=True, kw_only=True)
class Options(PictureOptions, LaunchOptions):
    """What prepare_captions is told."""

    captions: str
    """The captions file: Flickr's token file or results.csv, Karpathy's dataset_*.json, or COCO's captions_*.json."""
    images: str = ""
    """Folder, glob, archive, Parquet file or list of the pictures that exist; or name --regions. Archives are read
    whole for their names: --regions is faster."""
    regions: str = ""
    """Regions table whose pictures are those that exist, in place of --images."""
    format: Literal["auto", "flickr", "karpathy", "coco"] = "auto"
    """Of the captions file; auto: told by its content."""
    splits: SplitLists = field(default_factory=SplitLists)
    split: str = ""
    """coco: the split of all its captions; empty: told by the file's and the pictures' names."""
    restval: str = "train"
    """karpathy: the split that COCO's restval pictures count as."""
    default_split: str = ""
    """The split of pictures that are in none; empty: their captions are errors (NO_SPLIT)."""
    tune: int = 0
    """Training pictures to hold out as the split "tune": those with the smallest SHA-256 of their name."""
    max_tokens: int = 50
    """Words after which a sentence is cut, and counted; a guess far above the longest of Flickr8k (37)."""

    def __post_init__(self) -> None:
        LaunchOptions.__post_init__(self)
        if bool(self.images) == bool(self.regions):
            raise ConfigurationError("name the pictures that exist by --images or by --regions, and not by both")
        if self.tune < 0 or self.max_tokens < 1:
            raise ConfigurationError(f"--tune {self.tune}, --max-tokens {self.max_tokens}: at least 0 and 1")


class PrepareShard(CommitShard):
    """From one shard of the plan to one committed shard of the captions table."""

    def __init__(self, output: Output, max_tokens: int) -> None:
        self.output, self.max_tokens = output, max_tokens

    def commit(self, task: ShardTask) -> ShardResult:
        """Prepare the captions of one shard."""
        return prepare_shard(self.output.read_plan(task), self.max_tokens, self.output.open_shard(task))


def prepare_captions(argv: Sequence[str] | None = None) -> int:
    """Prepare the captions that `argv` names, and return the exit status."""
    about = "Writes the captions table: which picture each sentence belongs to, its split, its words."
    options, rest = parse(Options, argv, prog=PROG, description=about, allow_unknown=True)
    engine = Engine.of(rest, options, PROG)
    reading = read_captions(
        options.captions, options.format, options.splits.given(), options.split or None, options.restval
    )
    output = Output(options.output, "captions", tables.CAPTIONS, STAGE, configuration(options, reading.format))
    counts: dict[str, int] = {}

    def planned() -> Iterable[list[dict[str, Any]]]:
        plan = plan_of(options, reading)
        counts.update(plan.counts)
        return plan.shards()

    stage = begin(engine.place(output), planned, CAPTION_PLAN, counts, overwrite=options.overwrite)
    tasks = stage.pending()
    if is_complete(stage, tasks) and not engine.must_submit:
        return report(options.output, "prepare_captions: the table was complete, nothing was done", None)
    already = stage.inputs_done(tasks)

    def graph(pipeline: beam.Pipeline) -> beam.PCollection:
        shards = pipeline | "Shards" >> beam.Create(tasks) | "Spread" >> beam.Reshuffle()
        return shards | "Prepare" >> beam.ParDo(PrepareShard(output, options.max_tokens))

    if not engine.run(graph, stage, tasks, "captions"):
        return 0
    stage.finish()
    return report(options.output, "prepare_captions finished", already)


def plan_of(options: Options, reading: Reading[CaptionRecord]) -> PlannedCaptions:
    """Every line of the captions file with its picture and split."""
    images = ImageNames(existing_images(options))
    plan = plan_captions(reading, images, uri=options.captions, tune=options.tune, default_split=options.default_split)
    noted = {name: reading.counts[name] for name in ("blank_lines", "restval_images") if reading.counts[name]}
    return replace(plan, counts={**plan.counts, **noted})


def configuration(options: Options, format: str) -> dict[str, Any]:
    """What changes a row, by value: files by their content, so that another file of the same name is refused, and so a
    regions table that was made anew; `format` of the captions file, told by its content or by the options."""
    lists = options.splits.given()
    if lists is None and format == "flickr":
        lists = find_split_lists(options.captions)
    return {
        "captions": options.captions,
        "format": format,
        "captions_sha256": sha256(options.captions),
        "splits_sha256": {split: sha256(path) for split, path in sorted((lists or {}).items())},
        "pictures": options.images,
        "regions": TableReader(options.regions, "regions").facts() if options.regions else {},
        **{name: getattr(options, name) for name in ("kind", "root", "bytes_column", "id_column")},
        **{name: getattr(options, name) for name in ("split", "restval", "default_split", "tune", "max_tokens")},
    }


def existing_images(options: Options) -> Iterable[str]:
    """The image_ids that exist, by --regions or --images."""
    if options.regions:
        for batch in TableReader(options.regions, "regions").batches(["image_id"]):
            yield from batch.column("image_id").to_pylist()
        return
    for rows in list_images(options.source()):
        yield from (row["image_id"] for row in rows if row["kind"] == "image")
        for image in read_images((row for row in rows if row["kind"] == "archive"), options.reading):
            if image.archive_level and image.error is not None:
                print(f"warning: {image.error.message}; captions of the pictures behind it are errors", file=sys.stderr)
            elif image.error is None:
                yield image.image_id


def report(url: str, title: str, already: int | None) -> int:
    """Print the last screen, and a warning where many captions have no words; returns the exit status."""
    table = TableReader(url, "captions")
    histogram = captions_per_image(
        image_id for batch in table.batches(["image_id"]) for image_id in batch.column("image_id").to_pylist()
    )
    shown = ", ".join(f"{number} x {images:,}" for number, images in histogram.items())
    status = print_summary(title, url, "captions", already, {"captions x images": shown or "none"})
    wordless, inputs = table.manifest["errors"].get(Reason.NO_WORDS, 0), table.manifest["inputs"]
    if wordless > WORDLESS_SHARE * inputs:
        print(
            f"warning: {wordless:,} of {inputs:,} captions have no words (letters or digits); is {url}'s captions file "
            "in the declared format?",
            file=sys.stderr,
        )
    return status


def sha256(path: str) -> str:
    """Of a file's content."""
    with open_bytes(path) as file:
        return hashlib.sha256(file.read()).hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status (vsalign.command.exit_status)."""
    return exit_status(lambda: prepare_captions(argv))


if __name__ == "__main__":
    # Workers import the DoFn by its module's name, which __main__ is not.
    from pipelines import prepare_captions as module

    leave(module.main())
