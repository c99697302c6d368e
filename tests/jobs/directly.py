"""What jobs are to make, made in this process without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from tests.jobs.conftest import Road
from vsalign import tables
from vsalign.alignment import AlignmentModelConfig
from vsalign.checkpoint import LoadedModel, load_model
from vsalign.generation import DecodeOptions, DescriberConfig
from vsalign.generation.describe import DescribeOptions, Describer, describe_shard, regions_of_shard
from vsalign.photograph import together
from vsalign.storage import Output, Stage, TableReader
from vsalign.training import alignment
from vsalign.training.alignment import AlignmentData, AlignmentTraining
from vsalign.training.describer import DescriberData, DescriberTraining, train_describer

EPOCHS = 8
SCHEDULE = ["--epochs", str(EPOCHS), "--batch-size", "20", "--warmup", "5", "--min-count", "3", "--patience", "8"]
SIZES = ["--model.hidden", "16", "--model.word-dim", "8"]
OPTIONS = {"epochs": EPOCHS, "batch_size": 20, "warmup": 5, "min_count": 3, "patience": 8}


def train_here(stage: str, road: Road, folder: Path) -> LoadedModel:
    """The model that `stage` is to make."""
    (folder / "work").mkdir(parents=True)
    arguments = (str(folder / "direct"), folder / "work", lambda metrics, work: None)
    if stage == "train_alignment":
        config = AlignmentTraining(model=AlignmentModelConfig(h=16, hidden=16, word_dim=8), **OPTIONS)
        alignment.train_alignment(config, AlignmentData(road.regions, road.captions), *arguments)
        return load_model(str(folder / "direct"), "alignment")
    mrnn_config = DescriberTraining(model=DescriberConfig(hidden=16, word_dim=8), **OPTIONS)
    train_describer(mrnn_config, DescriberData(road.regions, road.captions), *arguments)
    return load_model(str(folder / "direct"), "describer")


def same(model: LoadedModel, expected: LoadedModel) -> None:
    """The same weights, bit for bit, and the same curve."""
    weights, wanted = model.model.state_dict(), expected.model.state_dict()
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
    curve, wanted_curve = model.training["history"], expected.training["history"]
    assert len(curve) == len(wanted_curve) == EPOCHS
    for epoch, wanted_epoch in zip(curve, wanted_curve, strict=True):
        assert epoch["loss"] == pytest.approx(wanted_epoch["loss"], rel=1e-5)
    assert model.training["best_epoch"] == expected.training["best_epoch"]


def described_as(road: Road) -> list[str]:
    """The options of caption_images under which it makes what `describe_here` does."""
    models = ["--model", road.mrnn, "--region-model", road.region_mrnn, "--ensemble", road.region_mrnn]
    sizes = ["--shard-size", "3", "--batch-size", "3", "--max-regions", "4"]
    return [*models, *sizes, "--decode.beam", "3", "--decode.max-words", "6"]


def describe_here(road: Road, folder: Path, shards: int) -> list[dict[str, Any]]:
    """The descriptions of the first shards of the road's regions table, which was extracted in shards of three too."""
    models = [load_model(url, "describer") for url in (road.mrnn, road.region_mrnn)]
    options = DescribeOptions(DecodeOptions(beam=3, max_words=6), max_regions=4)
    whole, region = ((model.model, model.vocabulary) for model in (together(models[0], models[1:]), models[1]))
    describer = Describer(whole, region, options)
    regions = TableReader(road.regions, "regions")
    output = Output(str(folder), "descriptions", tables.DESCRIPTIONS, "caption_images", {})
    stage = Stage(output)
    stage.plan([[{"row": "any"}] for _ in range(shards)], pa.schema([("row", pa.string())]), {})
    for task in stage.pending():
        describe_shard(regions_of_shard(regions, task.shard), describer.describe, 3, output.open_shard(task))
    stage.finish()
    rows: list[dict[str, Any]] = TableReader(output.url, "descriptions").read().to_pylist()
    return rows
