"""Pictures in a column of Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.vsalign.images.test_archives import read, reasons, reds
from vsalign.errors import Reason
from vsalign.images import ReadOptions


def parquet(columns: dict[str, Any], path: Path) -> bytes:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path.read_bytes()


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("id_column", ["image_id", "path", "__key__"])
def test_parquet_with_bytes(id_column: str, kind: pa.DataType, tmp_path: Path, dot: Any) -> None:
    ids = ["a/0.png", "a/1.png", "/abs/2.png", None, "0.txt"]
    pictures = pa.array([dot(n) for n in range(5)], kind)
    data = parquet({id_column: ids, "label": [1] * 5, "image": pictures}, tmp_path / "t")
    assert reds(read(tmp_path / "x.parquet", data)) == {
        "x.parquet/a/0.png": 0, "x.parquet/a/1.png": 1, "x.parquet/abs/2.png": 2, "x.parquet/row-000000003": 3,
        "x.parquet/0.txt": 4,
    }  # fmt: skip


def test_parquet_of_hugging_face_and_rows_without_a_picture(tmp_path: Path, dot: Any) -> None:
    values = [{"bytes": dot(0), "path": "x.jpg"}, {"bytes": None, "path": "y.jpg"}, {"bytes": b"", "path": None}, None]
    data = parquet({"image": values, "text": ["a"] * 4}, tmp_path / "t")
    images = read(tmp_path / "x.parquet", data)
    assert reds(images) == {"x.parquet/row-000000000": 0}
    assert [reason for _, reason, _ in reasons(images)] == [Reason.NOT_FOUND, Reason.EMPTY, Reason.EMPTY]


def test_parquet_columns_are_chosen_or_asked_for(tmp_path: Path, dot: Any) -> None:
    data = parquet({"name": ["p", "p"], "one": [dot(1), dot(2)], "two": [dot(3), dot(4)]}, tmp_path / "t")
    images = read(tmp_path / "x.parquet", data)
    assert reasons(images) == [("x.parquet", Reason.UNSUPPORTED, True)]
    assert "bytes_column" in images[0].error.message and "one, two" in images[0].error.message  # type: ignore[union-attr]
    images = read(tmp_path / "x.parquet", data, ReadOptions(bytes_column="two", id_column="name"))
    assert reds(images) == {"x.parquet/p": 3}
    assert reasons(images) == [("x.parquet/p", Reason.DUPLICATE_ID, False)]
    for options in (
        ReadOptions(bytes_column="none"),
        ReadOptions(bytes_column="name"),
        ReadOptions(id_column="none", bytes_column="one"),
    ):
        assert reasons(read(tmp_path / "x.parquet", data, options)) == [("x.parquet", Reason.UNSUPPORTED, True)]


def test_cut_parquet_is_incomplete(tmp_path: Path, dot: Any) -> None:
    data = parquet({"image": [dot(n) for n in range(5)]}, tmp_path / "t")
    for cut in (len(data) // 2, len(data) - 2):
        assert reasons(read(tmp_path / "x.parquet", data[:cut])) == [("x.parquet", Reason.INCOMPLETE, True)]
