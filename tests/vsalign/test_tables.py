"""The schemas, and the pages that document them: every column, every reason, every line of code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from vsalign import tables
from vsalign.errors import Reason
from vsalign.storage import Output, Stage, TableReader

DOCS = Path(__file__).parents[2] / "docs"
DIM = 2
SCHEMAS = {
    "captions": tables.CAPTIONS,
    "regions": tables.regions_schema(DIM),
    "segments": tables.SEGMENTS,
    "hashes": tables.HASHES,
    "descriptions": tables.DESCRIPTIONS,
    "errors": tables.ERRORS,
}
PAGES = ["tables.md", *(f"tables/{name}.md" for name in SCHEMAS)]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def cells(page: str, heads: tuple[str, ...]) -> list[list[str]]:
    """The rows of the page's table under these heads."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    start = lines.index(f"| {' | '.join(heads)} |") + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split(" | ")])
    return rows


def example(name: str) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(blocks(f"tables/{name}.md", "json")[0])
    if name == "regions":
        row["features"] = [bytes.fromhex(vector) for vector in row["features"]]
    return row


def changed(name: str, row: dict[str, Any], number: int) -> dict[str, Any]:
    """The example row of image `number`; with no regions or segments beyond the first for odd ones."""
    row = {**row, "image_id": f"{number}.jpg"}
    if "caption_id" in row:
        row["caption_id"] = f"{number}.jpg#0"
    for column in ("boxes", "scores", "features", "segments"):
        if column in row and number % 2:
            row[column] = row[column][:1]
    return row


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table, of 3 shards of 2 rows made from its page's example row and an error, below the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("captions", "regions", "segments", "hashes", "descriptions"):
        output = Output(name, name, SCHEMAS[name], "made_for_a_test", {}, {"extractor": {"name": "lite", "dim": DIM}})
        stage = Stage(output)
        stage.plan([[{"n": n}] for n in range(3)], pa.schema([("n", pa.int64())]), {})
        for task in stage.pending():
            writer = output.open_shard(task)
            writer.write([changed(name, example(name), 2 * task.shard + n) for n in range(2)])
            writer.add_error(example("errors"))
            writer.commit(3)
        stage.finish()


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_page_lists_the_columns_of_its_schema(name: str) -> None:
    documented = [row[:3] for row in cells(f"tables/{name}.md", ("Column", "Type", "Null", "Meaning"))]
    schema = SCHEMAS[name]
    types = {field.name: str(field.type).replace(f"binary[{2 * DIM}]", "binary[2·D]") for field in schema}
    assert documented == [[field.name, types[field.name], "yes" if field.nullable else "no"] for field in schema]


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_example_row_is_a_row(name: str) -> None:
    row = example(name)
    assert list(row) == SCHEMAS[name].names
    assert pa.Table.from_pylist([row], schema=SCHEMAS[name]).to_pylist() == [row]


def test_every_reason_is_documented() -> None:
    documented = {row[0]: row[1] for row in cells("tables/errors.md", ("Reason", "Tried again", "Meaning"))}
    assert documented == {str(reason): "yes" if reason.passing else "no" for reason in Reason}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_every_line_of_code_on_a_page_runs(made: None, page: str) -> None:
    python, sql = blocks(page, "python"), blocks(page, "sql")
    assert python and (sql or page == "tables.md")
    for block in python:
        exec(compile(block, page, "exec"), {})
    for block in sql:
        assert duckdb.execute(block).fetchall()


def ran(page: str, number: int) -> dict[str, Any]:
    """What the page's Python block `number` leaves behind."""
    names: dict[str, Any] = {}
    exec(compile(blocks(page, "python")[number], page, "exec"), names)
    return names


def test_duckdb_reads_what_was_written(made: None) -> None:
    (query,) = blocks("tables/regions.md", "sql")
    assert duckdb.execute(query).fetchall() == [
        (f"{n}.jpg", 1 if n % 2 else 2, None if n % 2 else 0.75) for n in range(6)
    ]
    (query,) = blocks("tables/segments.md", "sql")
    phrases = {row[2] for row in duckdb.execute(query).fetchall()}
    assert phrases == {"a child", "in a pink dress"}
    (query,) = blocks("tables/errors.md", "sql")
    assert duckdb.execute(query).fetchall() == [("TRUNCATED", 3, "gs://archive/holiday/0002.jpg")]
    (query,) = blocks("tables/descriptions.md", "sql")
    assert len(duckdb.execute(query).fetchall()) == 6
    (query,) = blocks("tables/captions.md", "sql")
    assert duckdb.execute(query).fetchall() == [("train", 6, 6.0)]


def test_pandas_reads_what_was_written(made: None) -> None:
    captions = ran("tables/captions.md", 0)["captions"]
    assert captions["image_id"].tolist() == [f"{n}.jpg" for n in range(6)]
    assert list(captions["tokens"][0]) == ["a", "child", "in", "a", "pink", "dress"]
    segments = ran("tables/segments.md", 0)["segments"]
    assert len(segments) == 9 and segments["score"].tolist()[:3] == [0.5, 0.25, 0.5]
    assert len(ran("tables/descriptions.md", 0)["descriptions"]) == 6
    assert len(pd.read_csv("captions.csv")) == 6
    assert ran("tables/errors.md", 0)["errors"]["reason"].tolist() == ["TRUNCATED"] * 3


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_torch_reads_what_was_written_without_a_copy(made: None) -> None:
    names = ran("tables/regions.md", 2)
    assert names["features"].dtype == torch.float16
    assert names["features"].tolist() == [[1.0, 0.5], [2.0, 0.0], [1.0, 0.5]]
    assert names["counts"].tolist() == [2, 1]
    assert names["features"].data_ptr() == names["vectors"].buffers()[1].address
    assert ran("tables/regions.md", 1)["features"].tolist() == [[1.0, 0.5], [2.0, 0.0]]
    assert [len(spans) for spans in ran("tables/segments.md", 1)["spans"]] == [2, 1] * 3
    assert ran("tables/errors.md", 1)["counts"].tolist() == [3]


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_the_zero_copy_line_minds_offsets(made: None) -> None:
    """The same line on a batch that begins in the middle of its buffers."""
    column = pa.concat_batches(list(TableReader("regions", "regions").batches(["features"]))).slice(1, 3)["features"]
    vectors = column.flatten()
    features = np.frombuffer(vectors.buffers()[1], "<f2", len(vectors) * DIM, vectors.offset * 2 * DIM).reshape(-1, DIM)
    assert features.tolist() == [[1.0, 0.5], [1.0, 0.5], [2.0, 0.0], [1.0, 0.5]]


def test_the_width_of_the_features_is_in_the_schema() -> None:
    schema = tables.regions_schema(1280)
    assert schema.field("features").type.value_type.byte_width == 2560
    assert schema.metadata == {b"feature_dim": b"1280", b"feature_dtype": b"float16", b"feature_byte_order": b"little"}


def test_an_error_row_fits_the_errors_table() -> None:
    row = tables.error_row("gs://a/b.jpg", "extract_regions", Reason.EMPTY, "gs://a/b.jpg: no bytes")
    assert pa.Table.from_pylist([row], schema=tables.ERRORS).to_pylist() == [row]
    assert type(row["reason"]) is str
