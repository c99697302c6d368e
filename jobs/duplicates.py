"""`--dedup` of caption_images: what has equal bytes is described once.

A pass of its own hashes all pictures into a table beside the descriptions, OUTPUT-hashes. From it the plan is made: the
first of equals stands where it stood, the others in shards of copies, which are made when the rest is committed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from jobs.quarantine import PULSE, Lost, Made, Maker
from jobs.shards import ShardOptions, ShardWork, Waves, make_shards
from vsalign import tables
from vsalign.errors import InputError
from vsalign.images import IMAGE_PLAN, Listing, ReadOptions, read_images
from vsalign.images.duplicates import content_hash, copies_of, original_of, planned_without
from vsalign.storage import Folder, Output, ShardResult, ShardTask, Stage, TableReader, begin

STAGE = "hash_images"
SUFFIX = "-hashes"

Row = dict[str, Any]


@dataclass(frozen=True)
class HashShards(ShardWork, Maker):
    """What an actor does: the bytes of one shard's pictures into a shard of hashes."""

    output: Output
    reading: ReadOptions

    def load(self) -> HashShards:
        """Nothing is needed."""
        return self

    def __call__(self, task: ShardTask, lost: Lost) -> Made:
        """Commit a shard; what cannot be read is an error here, and again where it would be described."""
        writer, inputs = self.output.open_shard(task), 0
        for image in read_images(self.output.read_plan(task), self.reading, writer.counts):
            PULSE.beat()
            inputs += not image.archive_level
            try:
                data = image.content()
            except InputError as error:
                row = tables.error_row(image.uri, STAGE, error.reason, error.message)
                writer.add_error(row, archive_level=image.archive_level)
                continue
            known = {"image_id": image.image_id, "uri": image.uri, "bytes": len(data)}
            writer.write([{**known, "content_hash": content_hash(data)}])
        return Made(writer.commit(inputs))


@dataclass(frozen=True)
class CopyShards(ShardWork, Maker):
    """What an actor does: a shard of copies, whose originals are committed, of tables of one plan."""

    outputs: Sequence[Output]

    def load(self) -> CopyShards:
        """Nothing is needed."""
        return self

    def __call__(self, task: ShardTask, lost: Lost) -> Made:
        """Commit a shard of each table, the first one's last: it says whether the shard is done."""
        plan = self.outputs[0].read_plan(task)
        wanted: dict[int, set[str]] = defaultdict(set)
        for row in plan:
            uri, shard = original_of(row)
            wanted[shard].add(uri)
        for output in reversed(self.outputs):
            made = Made(_copied(output, task, plan, wanted))
        return made


def _copied(output: Output, task: ShardTask, plan: Sequence[Row], wanted: Mapping[int, set[str]]) -> ShardResult:
    """Commit each row, or error, of an original under the copy's own names; wanted: the originals' URIs by shard."""
    writer, folder = output.open_shard(task), Folder(output.url)
    rows: dict[str, Row] = {}
    errors: dict[str, Row] = {}
    for result in output.committed(sorted(wanted)):
        uris = wanted[result.shard]
        rows |= _rows_of(folder, result.file, uris)
        if result.errors_file:
            errors |= _rows_of(folder, result.errors_file, uris)
        PULSE.beat()
    for row in plan:
        of, _ = original_of(row)
        if of in rows:
            writer.write([{**rows[of], "image_id": row["image_id"], "uri": row["uri"]}])
        else:
            error = errors[of]
            message = error["message"].replace(of, row["uri"])
            writer.add_error({**error, "uri": row["uri"], "message": message})
    return writer.commit(len(plan))


def _rows_of(folder: Folder, name: str, uris: set[str]) -> dict[str, Row]:
    """Those rows of a file, by their URIs; only row groups that have some are read."""
    found: dict[str, Row] = {}
    with folder.open(name) as file:
        table = pq.ParquetFile(file)
        for group in range(table.num_row_groups):
            here = table.read_row_group(group, columns=["uri"])["uri"].to_pylist()
            which = [number for number, uri in enumerate(here) if uri in uris]
            if which:
                found |= {row["uri"]: row for row in table.read_row_group(group).take(which).to_pylist()}
    return found


def deduplicated(
    url: str, listing: Listing, reading: ReadOptions, options: ShardOptions, counts: dict[str, int]
) -> Iterator[list[dict[str, Any]]]:
    """Hash what is listed into url + SUFFIX, then give the shards of the plan; `counts` as Listing.counted's."""
    output = Output(url + SUFFIX, "hashes", tables.HASHES, STAGE, listing.facts())
    stage = begin(output, lambda: listing.counted(counts), IMAGE_PLAN, counts, overwrite=options.overwrite)
    make_shards(stage, HashShards(output, reading), options, "images")
    counts.update(stage.plan_counts())
    shards = (output.read_plan(task) for task in stage.tasks())
    yield from planned_without(shards, copies_of(TableReader(output.url, "hashes")), counts)


def copies_last(stages: Sequence[Stage], work: ShardWork, tasks: list[ShardTask]) -> Waves:
    """The shards to make of tables of one plan, those of copies behind the rest, which they are made from."""
    first_copy = len(stages[0].tasks()) - stages[0].plan_counts().get("copy_shards", 0)
    own, copies = ([task for task in tasks if (task.shard >= first_copy) == copy] for copy in (False, True))
    return [(work, own), (CopyShards([stage.output for stage in stages]), copies)]
