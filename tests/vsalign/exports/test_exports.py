"""Descriptions in other people's forms, read back by other people's tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from vsalign import tables
from vsalign.cli import main
from vsalign.errors import Reason
from vsalign.storage import Output, Stage, TableReader

Row = dict[str, Any]
REGION = {"box": [1.5, 2.0, 30.0, 20.0], "score": 0.5, "caption": "a dog", "log_prob": -1.25}
TEXT = 'a "dog", ünder\ta <b>tree</b>'


def row(root: str, image_id: str, caption: str = "a dog runs", archive: str = "") -> Row:
    uri = f"{root}/{archive}!/{image_id}" if archive else f"{root}/{image_id}"
    known = {"image_id": f"{archive}/{image_id}" if archive else image_id, "uri": uri, "width": 40, "height": 30}
    known["content_hash"] = None
    return {**known, "caption": caption, "log_prob": -2.5, "finished": True, "regions": [REGION]}


def described(url: Path, shards: Sequence[Sequence[Row]], failed: Sequence[str] = ()) -> str:
    """A descriptions table; the uris that failed are in its first shard."""
    output = Output(str(url), "descriptions", tables.DESCRIPTIONS, "caption_images", {})
    stage = Stage(output)
    stage.plan(([{"shard": number}] for number in range(len(shards))), pa.schema([("shard", pa.int64())]), {})
    for task in stage.pending():
        writer, rows = output.open_shard(task), list(shards[task.shard])
        errors = failed if task.shard == 0 else ()
        writer.write(rows)
        for uri in errors:
            writer.add_error(tables.error_row(uri, "caption_images", Reason.NOT_IMAGE, "no picture"))
        writer.commit(len(rows) + len(errors))
    stage.finish()
    return str(url)


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Files and an archive's members; two files failed, one of them in a folder."""
    root = str(tmp_path / "photos")
    files = [row(root, "a/0001.jpg", TEXT), row(root, "a.v1.jpg"), row(root, "a.v2.jpg"), row(root, "noending")]
    members = [row(root, "in/0001.jpg", "in a tar", "t.tar"), row(root, "0002.seg.png", "two", "t.tar")]
    return described(tmp_path / "table", [files, members, []], [f"{root}/bad.jpg", f"{root}/t.tar!/in/bad.jpg"])


def test_coco_results_are_read_by_cocos_own_tool(table: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from pycocotools.coco import COCO

    out = tmp_path / "results.json"
    assert main(["export", "--descriptions", table, "--coco", str(out)]) == 0
    assert capsys.readouterr().out == f"COCO results: 6 captions in {out}\n"

    rows = TableReader(table, "descriptions").read().to_pylist()
    truth = COCO()
    truth.dataset = {"images": [{"id": each["image_id"]} for each in rows], "info": {}}
    truth.createIndex()
    found = truth.loadRes(str(out))
    assert {each["image_id"]: each["caption"] for each in found.anns.values()} == {
        each["image_id"]: each["caption"] for each in rows
    }


def test_an_empty_table_is_an_empty_list(tmp_path: Path) -> None:
    empty = described(tmp_path / "empty", [[]], ["/gone.jpg"])
    assert main(["export", "--descriptions", empty, "--coco", str(tmp_path / "o.json")]) == 0
    assert json.loads((tmp_path / "o.json").read_text()) == []


def test_tars_are_webdatasets_with_the_keys_of_the_pictures(table: str, tmp_path: Path) -> None:
    import webdataset

    assert main(["export", "--descriptions", table, "--webdataset", str(tmp_path / "tars")]) == 0

    assert sorted(each.name for each in (tmp_path / "tars").iterdir()) == ["000000.tar", "t.tar"]
    samples = [
        sample
        for name in ("000000.tar", "t.tar")
        for sample in webdataset.WebDataset(str(tmp_path / "tars" / name), shardshuffle=False).decode()
    ]
    assert [each["__key__"] for each in samples] == [
        "a/0001", "a%2Ev1", "a%2Ev2", "noending", "in/0001", "0002"
    ]  # fmt: skip
    rows = TableReader(table, "descriptions").read().to_pylist()
    assert [each["json"] for each in samples] == rows
    assert [each["txt"] for each in samples] == [each["caption"] for each in rows]


def test_sidecars_mirror_the_pictures_and_an_old_one_hides_no_failure(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    for old in ("bad.txt", "t.tar/in/bad.txt", "kept.txt", "a/0001.txt"):
        (out / old).parent.mkdir(parents=True, exist_ok=True)
        (out / old).write_text("of an earlier run")

    assert main(["export", "--descriptions", table, "--sidecars", str(out)]) == 0

    files = {str(each.relative_to(out)): each.read_text() for each in out.rglob("*") if each.is_file()}
    assert files == {
        "a/0001.txt": TEXT + "\n",
        "a.v1.txt": "a dog runs\n",
        "a.v2.txt": "a dog runs\n",
        "noending.txt": "a dog runs\n",
        "t.tar/in/0001.txt": "in a tar\n",
        "t.tar/0002.seg.txt": "two\n",
        "kept.txt": "of an earlier run",
    }
    assert "6 .txt files" in (said := capsys.readouterr().out) and "2 of pictures that failed deleted" in said


def test_sidecars_lie_beside_files(tmp_path: Path) -> None:
    root = tmp_path / "photos d'été #1"
    (root / "a").mkdir(parents=True)
    (root / "bad.json").write_text("old")
    rows = [row(str(root), "a/x[1].jpg", TEXT), row(str(root), "b?.png")]
    table = described(tmp_path / "table", [rows], [f"{root}/bad.jpg"])

    assert main(["export", "--descriptions", table, "--sidecars", "beside", "--sidecar-form", "json"]) == 0

    assert sorted(str(each.relative_to(root)) for each in root.rglob("*.json")) == ["a/x[1].json", "b?.json"]
    assert json.loads((root / "a" / "x[1].json").read_text()) == rows[0]


@pytest.mark.parametrize(
    ("rows", "options", "sentence"),
    [
        (["a/1.jpg", "a/1.png"], ["--sidecars", "OUT"], "a/1.jpg and a/1.png would share the sidecar"),
        (["a/1.jpg", "a/1.png"], ["--webdataset", "OUT"], "a/1.jpg and a/1.png would share the key"),
        (["t.tar!1.jpg"], ["--sidecars", "beside"], "t.tar/1.jpg lies in an archive"),
        (["a.jpg"], [], "say what to write"),
        (["a.jpg"], ["--sidecar-form", "xml"], "xml"),
        (["../a.jpg"], ["--sidecars", "OUT"], "leads out of"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(
    rows: list[str], options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    parts = [name.rpartition("!") for name in rows]
    table = described(tmp_path / "table", [[row(str(tmp_path), name, archive=archive) for archive, _, name in parts]])
    given = [str(tmp_path / "out") if word == "OUT" else word for word in options]

    assert main(["export", "--descriptions", table, *given]) == 2

    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_table_itself_opens_in_datasets(table: str) -> None:
    import datasets

    files = sorted(str(each) for each in Path(table).glob("part-*.parquet"))
    found = datasets.Dataset.from_parquet(files, cache_dir=f"{table}-cache")
    assert found.to_list() == TableReader(table, "descriptions").read().to_pylist()
