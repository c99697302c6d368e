"""Small tables of any kind, written as a stage writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from copy import copy
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vsalign import tables
from vsalign.storage import Output, Stage

Row = dict[str, Any]


@pytest.fixture
def there_and_back() -> Callable[[Any], Any]:
    """there_and_back(value) -> what comes back when a process of its own is sent the value and returns it."""

    def send(value: Any) -> Any:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(copy, value).result()

    return send


WriteTable = Callable[..., str]


def write_rows(url: Path | str, table: str, shards: Sequence[Sequence[Row]], properties: Row | None = None) -> str:
    """A complete table of such shards."""
    properties = properties or {}
    schema = (
        tables.regions_schema(properties["extractor"]["dim"]) if table == "regions" else getattr(tables, table.upper())
    )
    output = Output(str(url), table, schema, "test", {}, properties)
    stage = Stage(output)
    stage.plan(([{"shard": number}] for number in range(len(shards))), pa.schema([("shard", pa.int64())]), {})
    for task in stage.pending():
        writer, rows = output.open_shard(task), list(shards[task.shard])
        for row in rows:
            writer.write([row])
        writer.commit(len(rows))
    stage.finish()
    return str(url)


def region_row(image_id: str, features: np.ndarray) -> Row:
    """An image with such features (n, D); its boxes are the whole image and strips of it."""
    boxes = [[0.0, 0.0, 100.0, 100.0], *([10.0 * i, 0.0, 10.0 * i + 10, 100.0] for i in range(len(features) - 1))]
    return {
        "image_id": image_id,
        "uri": f"/{image_id}",
        "width": 100,
        "height": 100,
        "boxes": boxes[: len(features)],
        "scores": [1.0] * len(features),
        "features": [row.astype("<f2").tobytes() for row in features],
    }


@pytest.fixture(scope="session")
def write_regions() -> WriteTable:
    """(url, shards of {image_id: (n, D) features}, extractor's name) -> a regions table."""

    def write(url: Path | str, shards: Sequence[dict[str, np.ndarray]], name: str = "lite") -> str:
        dim = next(features.shape[1] for shard in shards for features in shard.values())
        rows = [[region_row(image_id, features) for image_id, features in shard.items()] for shard in shards]
        return write_rows(url, "regions", rows, {"extractor": {"name": name, "dim": dim}})

    return write


@pytest.fixture(scope="session")
def write_captions() -> WriteTable:
    """(url, {split: {image_id: sentences}}) -> a captions table, whose ids are image_id#K."""

    def write(url: Path | str, splits: dict[str, dict[str, Sequence[str]]]) -> str:
        rows = [
            {
                "image_id": image_id,
                "caption_id": f"{image_id}#{number}",
                "split": split,
                "text": text,
                "tokens": text.lower().split(),
            }
            for split, images in splits.items()
            for image_id, texts in images.items()
            for number, text in enumerate(texts)
        ]
        return write_rows(url, "captions", [rows])

    return write


@pytest.fixture(scope="session")
def write_segments() -> WriteTable:
    """(url, {(image_id, caption_id): [(start, end, region)]}, extractor) -> a segments table."""

    def write(
        url: Path | str, pairs: dict[tuple[str, str], list[tuple[int, int, int]]], extractor: Row | None = None
    ) -> str:
        rows = [
            {
                "image_id": image_id,
                "caption_id": caption_id,
                "segments": [{"start": s, "end": e, "region": r, "score": 0.5} for s, e, r in found],
            }
            for (image_id, caption_id), found in pairs.items()
        ]
        return write_rows(url, "segments", [rows], {"extractor": extractor} if extractor else {})

    return write


@pytest.fixture(scope="session")
def write_descriptions() -> WriteTable:
    """(url, {image_id: (caption, [(box, caption)])}) -> a descriptions table."""

    def write(url: Path | str, images: dict[str, tuple[str, list[tuple[list[float], str]]]]) -> str:
        rows = [
            {
                "image_id": image_id,
                "uri": f"/{image_id}",
                "width": 100,
                "height": 100,
                "caption": caption,
                "log_prob": -1.0,
                "finished": True,
                "regions": [{"box": box, "score": 1.0, "caption": text, "log_prob": -1.0} for box, text in found],
            }
            for image_id, (caption, found) in images.items()
        ]
        return write_rows(url, "descriptions", [rows])

    return write
