"""Photographs, names and arguments that people have had trouble with, through the whole of extract_regions."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipelines import extract_regions
from vsalign.regions import ExtractorConfig
from vsalign.storage import TableReader

MODULE = "pipelines.extract_regions"
ODD = ("a[1].jpg", "a1.jpg", "a#b.jpg", "a?b.jpg", "a%20b.jpg", "a b.jpg", "a*b.jpg", "a::b.jpg", "$HOME `x`.jpg")
SHAPES = ((1, 1), (3, 1), (5000, 1), (1, 5000), (8000, 20), (20_000, 1000))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def square(number: int) -> bytes:
    """A picture whose side tells which it is."""
    return encoded(Image.new("RGB", (number + 10, number + 10), (255, 20 * number, 0)))


def table_of(output: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = TableReader(str(output), "regions").read().to_pylist()
    return rows


@pytest.mark.parametrize("orientation", [2, 5, 6, 7])
def test_regions_are_those_of_the_upright_picture(orientation: int, stages: Any, tmp_path: Path) -> None:
    stored = Image.open(io.BytesIO(stages.picture(3)))
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
    }[orientation]
    tags = Image.Exif()
    tags[0x0112] = orientation
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "turned.png").write_bytes(encoded(stored, exif=tags))
    (tmp_path / "in" / "upright.png").write_bytes(encoded(stored.transpose(turn)))
    assert extract_regions.main(stages.small(tmp_path / "in", tmp_path / "table")) == 0
    turned, upright = table_of(tmp_path / "table")
    assert (turned["width"], turned["height"]) == stored.transpose(turn).size
    assert {**turned, "image_id": "", "uri": ""} == {**upright, "image_id": "", "uri": ""}


def test_pictures_of_any_shape_have_boxes_inside_them_and_finite_features(stages: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for width, height in SHAPES:
        for mode in ("RGB", "L"):
            (tmp_path / "in" / f"{width}x{height}{mode}.png").write_bytes(encoded(Image.new(mode, (width, height))))
    assert extract_regions.main(stages.small(tmp_path / "in", tmp_path / "table")) == 0
    rows = table_of(tmp_path / "table")
    assert sorted((row["width"], row["height"]) for row in rows) == sorted(SHAPES * 2)
    for row in rows:
        boxes = np.asarray(row["boxes"])
        assert boxes[0].tolist() == [0, 0, row["width"], row["height"]]
        assert (boxes[:, :2] < boxes[:, 2:]).all() and (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= [row["width"], row["height"]]).all()
        assert np.isfinite(np.frombuffer(b"".join(row["features"]), "<f2")).all()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_arguments_and_names_arrive_byte_for_byte(workers: str, stages: Any, tmp_path: Path) -> None:
    archives = tmp_path / 'photos d\'été $HOME `id` "x"'
    archives.mkdir()
    for number, name in enumerate(ODD):
        with tarfile.open(archives / f"{number} #?.tar", "w") as tar:
            header = tarfile.TarInfo(name)
            header.size = len(square(number))
            tar.addfile(header, io.BytesIO(square(number)))
    output = tmp_path / "a table's $PWD [1]"
    ended = stages.run(MODULE, *stages.small(f"{archives}/*.tar", output, "--workers", workers))
    assert ended.returncode == 0, ended.stderr
    assert {row["image_id"]: row["width"] - 10 for row in table_of(output)} == {
        f"{number} #?.tar/{name}": number for number, name in enumerate(ODD)
    }
    assert {path.name for path in tmp_path.iterdir()} == {archives.name, output.name}


def test_a_list_of_odd_names_reads_each_ones_own_content(stages: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, name in enumerate(ODD):
        (tmp_path / "in" / name).write_bytes(square(number))
    (tmp_path / "uris.txt").write_text("".join(f"in/{name}\n" for name in (*ODD, "gone#1.jpg", "in1[a].jpg")))
    assert extract_regions.main(stages.small(tmp_path / "uris.txt", tmp_path / "table")) == 0
    found = {row["image_id"]: row["width"] - 10 for row in table_of(tmp_path / "table")}
    assert found == {f"in/{name}": number for number, name in enumerate(ODD)}
    errors = TableReader(str(tmp_path / "table"), "regions").errors().to_pylist()
    assert [(error["uri"], error["reason"]) for error in errors] == [
        (f"{tmp_path}/in/{name}", "NOT_FOUND") for name in ("gone#1.jpg", "in1[a].jpg")
    ]


def test_a_shard_in_which_no_picture_has_a_box_is_read_with_the_others(stages: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    images = []
    for number in range(6):
        (tmp_path / "in" / f"{number}.png").write_bytes(square(number))
        images.append({"id": number, "file_name": f"{number}.png", "width": number + 10, "height": number + 10})
    boxes = tmp_path / "boxes.json"
    images[4]["width"] = 40  # the boxes of 4.png are of another picture; 5.png has none, not even an entry
    boxes.write_text(json.dumps({"images": images[:5], "annotations": [{"image_id": 3, "bbox": [1, 1, 5, 5]}]}))
    given = ("--extractor.name", "given", "--extractor.boxes", str(boxes))
    assert extract_regions.main(stages.small(tmp_path / "in", tmp_path / "table", *given)) == 0
    table = TableReader(str(tmp_path / "table"), "regions").read()
    assert [len(each) for each in table["boxes"]] == [1, 1, 1, 2]
    assert table.schema.field("boxes").type == pa.list_(pa.list_(pa.float32(), 4))
    query = f"select sum(len(scores)), count(*) from '{tmp_path}/table/part-*.parquet'"
    assert duckdb.execute(query).fetchone() == (5, 4)
    errors = TableReader(str(tmp_path / "table"), "regions").errors().to_pylist()
    assert [(Path(error["uri"]).name, error["reason"]) for error in errors] == [
        ("4.png", "BAD_BOXES"),
        ("5.png", "NO_BOXES"),
    ]


def test_a_companion_file_of_a_mac_is_no_input_by_its_name_or_by_its_bytes(stages: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, data in (("a.png", square(0)), ("._a.png", b"\0\5\x16\7\0"), ("apple.png", b"\0\5\x16\7\0")):
        (tmp_path / "in" / name).write_bytes(data)
    assert extract_regions.main(stages.small(tmp_path / "in", tmp_path / "table")) == 0
    manifest = TableReader(str(tmp_path / "table"), "regions").manifest
    assert (manifest["inputs"], manifest["rows"], manifest["errors"]) == (1, 1, {})
    assert manifest["counts"]["litter"] == 2


def test_a_process_loads_its_extractor_once_however_many_threads_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, together, config = [], threading.Barrier(6), ExtractorConfig(name="lite", input_size=64)

    def slow(config: ExtractorConfig) -> object:
        loaded.append(config)
        threading.Event().wait(0.1)
        return SimpleNamespace(runtime="torch")

    def ask() -> None:
        together.wait()
        found.append(extract_regions.load_extractor(config))

    monkeypatch.setattr(extract_regions, "build_extractor", slow)
    extract_regions._loaded.clear()
    found: list[object] = []
    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # What the driver has settled, and a DoFn in its process asks for, is that same extractor.
    found.append(extract_regions.load_extractor(replace(config, runtime="torch")))
    extract_regions._loaded.clear()
    assert len(loaded) == 1 and len({*map(id, found)}) == 1 and len(found) == 7
