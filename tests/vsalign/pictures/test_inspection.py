"""vsalign inspect regions: figures that are right, and a sheet whose boxes are where the table has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from vsalign import tables
from vsalign.errors import Reason
from vsalign.pictures import inspection
from vsalign.storage import Output, begin

DIM = 4
EXTRACTOR = {"name": "given", "dim": DIM, "weights_sha256": "abc"}


def row(
    path: Path, boxes: list[list[float]], feature: list[float], size: tuple[int, int] = (200, 100)
) -> dict[str, Any]:
    return {
        "image_id": path.name, "uri": str(path), "width": size[0], "height": size[1], "boxes": boxes,
        "scores": [1.0 - 0.1 * n for n in range(len(boxes))],
        "features": [np.asarray(feature, "<f2").tobytes()] * len(boxes),
    }  # fmt: skip


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Two shards: white pictures of 200 x 100 px, one of them gone, and an error."""
    rows = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        if number != 3:
            Image.new("RGB", (400, 200), "white").save(path)  # twice the size that the boxes were made on
        boxes = [[0, 0, 200, 100], [20, 20, 60, 60]] + [[0, 0, 10, 10], [50, 50, 40, 60]] * (number == 0)
        rows.append(row(path, [[float(x) for x in box] for box in boxes], [3, 0, 4, 0]))
    output = Output(str(tmp_path / "table"), "regions", tables.regions_schema(DIM), "x", {}, {"extractor": EXTRACTOR})
    plan = ([{"name": "x"}] for _ in range(2))
    stage = begin(output, lambda: plan, pa.schema([("name", pa.string())]), {"litter": 3}, overwrite=False)
    for task, part in zip(stage.pending(), (rows[:2], rows[2:]), strict=True):
        writer = output.open_shard(task)
        writer.write(part)
        if task.shard:
            writer.add_error({"uri": "bad.jpg", "stage": "x", "reason": Reason.TRUNCATED, "message": "cut"})
        writer.commit(len(part) + task.shard)
    stage.finish()
    return str(tmp_path / "table")


def test_figures_are_those_of_the_table(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspection.main([table]) == 0
    said = capsys.readouterr().out.splitlines()
    figures = {line.strip().split("  ")[0]: line.split("  ")[-1].strip() for line in said[1:]}
    assert figures == {
        "images": "5 of 6 inputs, in 2 shards", "errors": "1", "TRUNCATED": "1", "litter": "3",
        "extractor name": "given", "extractor dim": "4", "extractor weights sha256": "abc",
        "regions an image": "2 to 4, mean 2.4", "picture sides": "100 to 200 px", "invalid boxes": "1",
        "boxes by area": "below 1 %: 8.3 %, below 10 %: 41.7 %, below 50 %: 0.0 %, 50 % and more: 41.7 %",
        "scores": "0.700 to 1.000", "features of 5 images": "50.0 % zeros, 0 not finite, length 5.00 ± 0.00",
    }  # fmt: skip


def test_the_sheet_shows_boxes_in_place_and_says_what_is_unreadable(table: str, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert inspection.main(["--table", table, "--sheet", str(sheet), "--cell", "200", "--pictures", "5"]) == 0
    with Image.open(sheet) as image:
        pixels = np.asarray(image)
    step = 200 + inspection.GAP
    assert pixels.shape == (2 * step + inspection.GAP, 3 * step + inspection.GAP, 3)
    first = pixels[inspection.GAP + 50 : inspection.GAP + 150, inspection.GAP : step]  # 200 x 100, centred in its cell
    assert (first[40, 19] == 255).all() and (first[40, 20] != 255).any()  # the left edge of the second box
    assert (first[40, 40] == 255).all()  # inside it
    gone = pixels[step + inspection.GAP : 2 * step, inspection.GAP : step]
    assert (gone[-1, -1] == 225).all() and (gone == 0).any()


def test_pictures_are_spread_over_all_shards(table: str) -> None:
    reader = inspection.TableReader(table, "regions")
    assert [found["image_id"] for found in inspection._spread(reader, 3)] == ["0.png", "2.png", "4.png"]
    assert len(list(inspection._spread(reader, 100))) == 5


@pytest.mark.parametrize(
    ("more", "sentence"),
    [(["--sheet", "x.tiff"], "x.tiff"), (["--pictures", "0"], "--pictures 0"), (["--cel", "3"], "--cell")],
)
def test_a_mistake_is_one_sentence(table: str, more: list[str], sentence: str, capsys: Any) -> None:
    from vsalign.cli import main

    assert main(["inspect", "regions", table, *more]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert main(["inspect", "regions", table + "-nowhere"]) == 2
    assert "there is no regions table" in capsys.readouterr().err
