"""`vsalign index`: a regions table becomes an index, a table of its own that is searched by sentences.

The unit of work is some consecutive shards of the regions table; it is committed as every other shard is, so a killed
build goes on, and `--refresh` takes in the shards that the regions table has got since.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from vsalign import tables
from vsalign.alignment import AlignmentModel
from vsalign.checkpoint import LoadedModel, load_model
from vsalign.errors import ConfigurationError, ModelError, Reason
from vsalign.images.locations import canonical
from vsalign.options import parse
from vsalign.packaged import alignment_folder
from vsalign.progress import Progress, last_screen
from vsalign.search.lists import LEAST_IMAGES, faiss_library, remove_lists, write_lists
from vsalign.search.space import Precision, Space, learn_space
from vsalign.storage import Folder, Output, ShardWriter, Stage, TableReader, begin
from vsalign.storage.claim import read_json
from vsalign.storage.layout import PLAN, RUN
from vsalign.storage.refreshing import listed_inputs

STAGE = "index"
INDEX_PLAN = pa.schema([("kind", pa.string()), ("region_shard", pa.int32()), ("uri", pa.string())])
"""One row is a shard of the regions table, by position, and which file of how many rows it was."""
IMAGES_A_SHARD = 2**16
"""Files of some 170 MB; one of 2^20 images has 16."""
SCORED = ("maxsim", "symmetric")
"""The scores that an index answers."""


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """What `vsalign index` is asked for."""

    regions: str
    """Folder or URL of the regions table."""
    output: str
    """Folder or URL of the index."""
    model: str = ""
    """Folder of the alignment model; empty: that of the distribution vsalign-models."""
    descriptions: str = ""
    """Folder or URL of the pictures' descriptions table: captions are shown beside what is found, and filtered by."""
    dim: int = 128
    """Numbers a region is searched by; 0: all of the model's space, four times the memory for the shipped one."""
    precision: Precision = "int8"
    """How a number is kept; float16 takes twice the memory."""
    lists: bool = False
    """Put the regions into inverted lists too (FAISS), so that a sentence is not compared with all images of a large
    index: `vsalign serve` uses them. With the same options again, they take in what --refresh added."""
    refresh: bool = False
    """Take in what the regions table has got since the index was made."""
    overwrite: bool = False
    """Delete the index that is at --output and begin again."""

    def __post_init__(self) -> None:
        if self.dim < 0:
            raise ConfigurationError(f"--dim {self.dim}: give 0 (all) or more")


@dataclass(frozen=True)
class Builder:
    """What turns shards of regions into shards of an index."""

    regions: TableReader
    descriptions: TableReader | None
    model: AlignmentModel
    space: Space

    def make(self, rows: Sequence[dict[str, Any]], writer: ShardWriter, progress: Progress) -> None:
        """Commit the index shard of these rows of the plan."""
        inputs = 0
        shards = [row["region_shard"] for row in rows]
        columns = ["image_id", "uri", "width", "height", "boxes", "features"]
        captions = self._captions(shards)
        for batch in self.regions.batches(columns, shards):
            inputs += batch.num_rows
            some = pc.greater(pc.list_value_length(batch["boxes"]), 0)
            for row in batch.filter(pc.invert(some)).select(["uri"]).to_pylist():
                why = f"{row['uri']}: it has no regions, not even the whole image"
                writer.add_error(tables.error_row(row["uri"], STAGE, Reason.NO_BOXES, why))
            writer.write(self._projected(batch.filter(some), captions))
            progress.add(batch.num_rows)
        writer.commit(inputs)

    @torch.inference_mode()
    def _projected(self, batch: pa.RecordBatch, captions: dict[str, str]) -> pa.RecordBatch:
        dim = int(self.regions.schema.metadata[b"feature_dim"])
        features = tables.feature_arrays(batch["features"])
        flat = np.concatenate(features) if features else np.empty((0, dim), np.float16)
        vectors = self.space.regions(self.model.regions(torch.from_numpy(flat)))
        values = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(vectors.dtype.itemsize * self.space.dim), len(vectors), [None, pa.py_buffer(vectors)]
        )
        ends = pa.array(np.cumsum([0, *map(len, features)]), pa.int32())
        said = pa.array([captions.get(image_id) for image_id in batch["image_id"].to_pylist()], pa.string())
        known = [batch[name] for name in ("image_id", "uri", "width", "height")]
        schema = tables.index_schema(self.space.dim, self.space.precision)
        return pa.RecordBatch.from_arrays(
            [*known, said, batch["boxes"], pa.ListArray.from_arrays(ends, values)], schema=schema
        )

    def _captions(self, shards: Sequence[int]) -> dict[str, str]:
        """Of the images of these shards; the descriptions table is gone through once for each index shard."""
        if self.descriptions is None:
            return {}
        wanted = pa.concat_arrays([batch.column(0) for batch in self.regions.batches(["image_id"], shards)])
        found: dict[str, str] = {}
        for batch in self.descriptions.batches(["image_id", "caption"]):
            rows = batch.filter(pc.is_in(batch["image_id"], value_set=wanted))
            found.update(zip(*(column.to_pylist() for column in rows.columns), strict=True))
        return found


def plan_index(regions: TableReader) -> Iterator[list[dict[str, Any]]]:
    """The shards of an index: consecutive ones of the regions table, IMAGES_A_SHARD images together or one alone."""
    rows: list[dict[str, Any]] = []
    images = 0
    for shard, part in enumerate(regions.shards):
        if rows and images + part["rows"] > IMAGES_A_SHARD:
            yield rows
            rows, images = [], 0
        rows.append({"kind": "regions", "region_shard": shard, "uri": _name(part)})
        images += part["rows"]
    if rows:
        yield rows


def _name(part: dict[str, Any]) -> str:
    """What tells a file of the regions table from one that took its place."""
    return f"{part['file']} of {part['rows']} rows"


def _files(regions: TableReader) -> set[str]:
    return {_name(part) for part in regions.shards}


def build_index(options: IndexOptions) -> int:
    """Make the index, or what it lacks; returns the exit status. Raises VsalignError where the inputs do not fit."""
    regions = TableReader(options.regions, "regions")
    descriptions = TableReader(options.descriptions, "descriptions") if options.descriptions else None
    model = searching_model(options.model)
    regions.require_extractor(model.extractor, needed_by=f"the model {model.url}")
    space = _space(options, model, regions)
    output = Output(
        url=options.output,
        table="index",
        schema=tables.index_schema(space.dim, space.precision),
        stage=STAGE,
        configuration={
            "regions": {"url": canonical(regions.url), "configuration": regions.manifest["configuration"]},
            "descriptions": descriptions and canonical(descriptions.url),
            "model": {"url": canonical(model.url), "weights_sha256": model.weights_sha256},
            "dim": options.dim,
            "precision": options.precision,
        },
        properties={
            "extractor": model.extractor,
            "space": space.facts,
        },
    )
    how = {"overwrite": options.overwrite, "refresh": options.refresh}
    if options.lists:
        faiss_library()
    if options.overwrite and Folder(options.output).exists(RUN):
        remove_lists(Folder(options.output))
    stage = begin(output, lambda: plan_index(regions), INDEX_PLAN, {}, **how)
    space.write(Folder(options.output))
    tasks = stage.pending()
    rows = _still_there(output, stage, regions)
    builder = Builder(regions, descriptions, model.model, space)
    images = sum(regions.shards[row["region_shard"]]["rows"] for task in tasks for row in rows[task.shard])
    with Progress(images, "images", label="index") as progress:
        for task in tasks:
            builder.make(rows[task.shard], output.open_shard(task), progress)
    summary = stage.finish()
    already = summary.inputs - images if tasks else None
    more = {"inverted lists": _lists(options.output)} if options.lists else {}
    return last_screen("index finished", summary.output, "images", asdict(summary), already, more)


def _lists(url: str) -> str:
    """Make the lists of an index, or bring them up to date; returns what is said of them."""
    held = write_lists(url)
    return f"of {held:,} images" if held else f"none: under {LEAST_IMAGES:,} images all are compared sooner"


def searching_model(url: str) -> LoadedModel:
    """An alignment model whose score an index can answer; empty: the packaged one. Raises ConfigurationError."""
    model = load_model(alignment_folder(url), "alignment")
    if model.model.config.score not in SCORED:
        raise ConfigurationError(
            f"the model {model.url} scores by {model.model.config.score}, which no index answers: give one of "
            f"{' or '.join(SCORED)}"
        )
    return model


def _space(options: IndexOptions, model: LoadedModel, regions: TableReader) -> Space:
    """That of the index that is there, or one that is learnt now."""
    folder = Folder(options.output)
    if not options.overwrite and folder.exists(RUN):
        held = read_json(folder, RUN, "properties")["properties"].get("space")
        with contextlib.suppress(ModelError):  # killed before it was written: it is learnt again, the same
            return Space.read(folder, **held)
    return learn_space(model.model, regions, options.dim, options.precision)


def lost_regions(url: str, regions: TableReader) -> bool:
    """Whether the index at `url` was made of files that the regions table has replaced since."""
    folder = Folder(url)
    planned = read_json(folder, PLAN, "files")["files"] if folder.exists(PLAN) else []
    return not _files(regions).issuperset(listed_inputs(folder, (name for name, _ in planned)))


def _still_there(output: Output, stage: Stage, regions: TableReader) -> dict[int, list[dict[str, Any]]]:
    """The plan's rows by shard; raises ConfigurationError where the regions table has lost one of them since."""
    there = _files(regions)
    plan = {task.shard: output.read_plan(task) for task in stage.tasks()}
    for rows in plan.values():
        for row in rows:
            if row["uri"] not in there:
                raise ConfigurationError(
                    f"{regions.url} has no {row['uri']} any more, which {output.url} was made of: give --overwrite"
                )
    return plan


def main(argv: Sequence[str]) -> int:
    """The command `vsalign index`."""
    about = "Make an index of a regions table, in which pictures are found by sentences."
    return build_index(parse(IndexOptions, argv, prog="vsalign index", description=about))
