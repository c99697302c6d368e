"""Pairs of a shard become segments rows, or error rows; the phrases are the best of all labellings."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from vsalign import tables
from vsalign.alignment import AlignmentModel, AlignmentModelConfig, SentenceReader
from vsalign.alignment.annotate import (
    NO_REGIONS,
    PAIR_PLAN,
    PAIRS_A_BATCH,
    Annotator,
    annotate_shard,
    plan_pairs,
)
from vsalign.alignment.placing import Placing
from vsalign.errors import ConfigurationError
from vsalign.storage import Output, Stage, TableReader
from vsalign.text import Vocabulary

DIM = 6
WORDS = ["dog", "red", "ball", "runs", "a"]
BETA = 0.3


def write_table(url: Path, table: str, schema: pa.Schema, shards: list[list[dict[str, Any]]]) -> TableReader:
    """A complete table of such rows."""
    properties = {"extractor": {"name": "made up", "dim": DIM}} if table == "regions" else {}
    output = Output(str(url), table, schema, "test", {}, properties)
    stage = Stage(output)
    stage.plan(
        [[{"row": str(i)} for i in range(len(shard))] for shard in shards], pa.schema([("row", pa.string())]), {}
    )
    for task in stage.pending():
        writer = output.open_shard(task)
        if shards[task.shard]:
            writer.write(shards[task.shard])
        writer.commit(len(shards[task.shard]))
    stage.finish()
    return TableReader(str(url), table)


def region_row(name: str, count: int, seed: int) -> dict[str, Any]:
    features = np.random.default_rng(seed).normal(size=(count, DIM)).astype("<f2")
    return {
        "image_id": name,
        "uri": name,
        "width": 9,
        "height": 9,
        "boxes": [[0.0, 0.0, 9.0, 9.0 - number] for number in range(count)],
        "scores": [1.0] * count,
        "features": [feature.tobytes() for feature in features],
    }


def caption_row(name: str, number: int, tokens: list[str], split: str = "train") -> dict[str, Any]:
    text = " ".join(tokens)
    return {"image_id": name, "caption_id": f"{name}#{number}", "split": split, "text": text, "tokens": tokens}


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> TableReader:
    shards = [
        [region_row("a.jpg", 3, 1), region_row("b.jpg", 1, 2)],
        [region_row("c.jpg", 2, 3)],
        [region_row("none.jpg", 0, 4), region_row("d.jpg", 4, 5)],
    ]
    return write_table(tmp_path_factory.mktemp("regions"), "regions", tables.regions_schema(DIM), shards)


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> TableReader:
    shards = [
        [
            caption_row("d.jpg", 0, ["a", "red", "dog"]),
            caption_row("a.jpg", 0, ["dog", "runs", "a", "ball"]),
            caption_row("lost.jpg", 0, ["dog"]),
        ],
        [
            caption_row("a.jpg", 1, ["zebra", "red"], split="dev"),
            caption_row("b.jpg", 0, ["ball"]),
            caption_row("d.jpg", 1, []),
            caption_row("none.jpg", 0, ["dog"]),
        ],
    ]
    return write_table(tmp_path_factory.mktemp("captions"), "captions", tables.CAPTIONS, shards)


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    torch.manual_seed(3)
    model = AlignmentModel(DIM, 4 + len(WORDS), AlignmentModelConfig(h=5, hidden=7, word_dim=3))
    return Annotator(model, SentenceReader(Vocabulary(WORDS)), Placing(beta=BETA))


def annotate(url: Path, regions: TableReader, captions: TableReader, annotator: Annotator) -> TableReader:
    output = Output(str(url), "segments", tables.SEGMENTS, "align_segments", {})
    stage = Stage(output)
    stage.plan(plan_pairs(regions, captions), PAIR_PLAN, {})
    for task in stage.pending():
        annotate_shard(output.read_plan(task), regions, annotator, output.open_shard(task))
    stage.finish()
    return TableReader(str(url), "segments")


def test_a_shard_of_the_plan_holds_all_pairs_of_one_region_shard(regions, captions) -> None:
    shards = list(plan_pairs(regions, captions))
    assert [[row["caption_id"] for row in shard] for shard in shards] == [
        ["a.jpg#0", "a.jpg#1", "b.jpg#0"],
        ["none.jpg#0", "d.jpg#0", "d.jpg#1"],
        ["lost.jpg#0"],
    ]
    assert [{row["region_shard"] for row in shard} for shard in shards] == [{0}, {2}, {NO_REGIONS}]


def test_only_the_captions_of_the_chosen_splits_are_planned(regions, captions) -> None:
    (shard,) = plan_pairs(regions, captions, {"dev"})
    assert [row["caption_id"] for row in shard] == ["a.jpg#1"]
    with pytest.raises(ConfigurationError, match=r"no captions of the split 'tune': it has dev \(1\), train \(6\)"):
        plan_pairs(regions, captions, {"tune"})  # at once, before anything is written


def test_inputs_are_rows_and_errors_each_with_its_reason(tmp_path, regions, captions, annotator) -> None:
    segments = annotate(tmp_path / "segments", regions, captions, annotator)
    assert segments.read(["caption_id"])["caption_id"].to_pylist() == ["a.jpg#0", "a.jpg#1", "b.jpg#0", "d.jpg#0"]
    errors = {row["uri"]: row["reason"] for row in segments.errors().to_pylist()}
    assert errors == {"lost.jpg#0": "MISSING_REGIONS", "none.jpg#0": "MISSING_REGIONS", "d.jpg#1": "NO_WORDS"}
    assert (segments.manifest["inputs"], segments.rows) == (7, 4)


def test_the_phrases_are_the_best_of_all_labellings(tmp_path, regions, captions, annotator) -> None:
    """Against every labelling of every sentence, with products of one pair at a time."""
    features = {}
    for batch in regions.batches(["image_id", "features"]):
        for row in batch.to_pylist():
            features[row["image_id"]] = np.array([np.frombuffer(each, "<f2") for each in row["features"]], "f4")
    tokens = {row["caption_id"]: row["tokens"] for row in captions.read().to_pylist()}
    for row in annotate(tmp_path / "segments", regions, captions, annotator).read().to_pylist():
        words = tokens[row["caption_id"]]
        with torch.inference_mode():
            v = annotator.model.regions(torch.from_numpy(features[row["image_id"]]))
            ids = torch.tensor([annotator.reader.vocabulary.encode(words)])
            unary = (annotator.model.sentences(ids, torch.tensor([len(words)])) @ v.t()).tolist()

        def value(labels: tuple[int, ...], unary: list[list[float]] = unary) -> float:
            stays = sum(one == two for one, two in itertools.pairwise(labels))
            return sum(unary[t][label] for t, label in enumerate(labels)) + BETA * stays

        best = max(value(labels) for labels in itertools.product(range(len(v)), repeat=len(words)))
        found = row["segments"]
        assert [found[0]["start"], found[-1]["end"]] == [0, len(words)]
        assert all(one["end"] == two["start"] for one, two in itertools.pairwise(found))
        labels = tuple(each["region"] for each in found for _ in range(each["start"], each["end"]))
        assert value(labels) == pytest.approx(best, abs=1e-5)
        for each in found:
            assert each["score"] == pytest.approx(
                sum(unary[t][each["region"]] for t in range(each["start"], each["end"])), abs=1e-5
            )


@pytest.mark.parametrize("unary", ["products", "overlap"])
def test_a_pair_is_annotated_alike_in_any_company(tmp_path, regions, annotator, unary) -> None:
    """More pairs than a batch holds, each beside pairs of other lengths and images with other numbers of regions."""
    annotator = Annotator(annotator.model, annotator.reader, Placing(unary=unary, beta=0.02, temperature=1.0))
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    rows = [
        caption_row(names[i % 4], i, [WORDS[(i + j) % 5] for j in range(1 + i % 7)]) for i in range(PAIRS_A_BATCH + 40)
    ]
    many = write_table(tmp_path / "captions", "captions", tables.CAPTIONS, [rows])
    for row in annotate(tmp_path / "segments", regions, many, annotator).read().to_pylist()[:: PAIRS_A_BATCH // 20]:
        number = int(row["caption_id"].split("#")[1])
        url = tmp_path / f"alone {number}"
        alone = write_table(url / "captions", "captions", tables.CAPTIONS, [[rows[number]]])
        (single,) = annotate(url / "segments", regions, alone, annotator).read().to_pylist()
        for one, two in zip(row.pop("segments"), single.pop("segments"), strict=True):
            assert one.pop("score") == pytest.approx(two.pop("score"), abs=1e-5)
            assert one == two
        assert row == single
