"""prepare_captions as a command: every line accounted for, the same on every runner, resumed after a kill."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from apache_beam.internal import pickler

from pipelines import prepare_captions
from vsalign import tables
from vsalign.storage import Output, TableReader

MODULE = "pipelines.prepare_captions"


@pytest.fixture
def captions(pictures: Path, tmp_path: Path) -> Path:
    """A token file of the good pictures by their base names, with split lists and all that goes wrong."""
    lines, train, dev = [], [], []
    for number in range(40):
        name = f"{number:03d}.jpg"
        lines += [f"{name}#{k}\tA dog number {number} runs, {k}." for k in range((0, 1, 5, 7)[number % 4])]
        (train if number < 30 else dev if number < 38 else []).append(name)
    lines += ["000.jpg#0\tNone", '000.jpg#1\tHe said ""hi', "000.jpg#2\t...", "001.jpg.1#0\tNo such picture."]
    lines += ["no tab", "", "002.jpg#9\t" + "word " * 400]
    (tmp_path / "x.token.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "x.trainImages.txt").write_text("\n".join(train))
    (tmp_path / "x.devImages.txt").write_text("\n".join(dev))
    return tmp_path / "x.token.txt"


def command(captions: Path, pictures: Path, output: Path, *more: str) -> list[str]:
    return ["--captions", str(captions), "--images", str(pictures), "--output", str(output), *more]


def test_every_line_is_a_row_or_an_error(
    captions: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "table"
    assert prepare_captions.main(command(captions, pictures, output, "--tune", "4")) == 0
    table = TableReader(str(output), "captions")
    # 130 lines of ten times 0 + 1 + 5 + 7 captions; those of 038 and 039 are in no split.
    assert table.manifest["errors"] == {"BAD_LINE": 1, "MISSING_IMAGE": 1, "NO_SPLIT": 12, "NO_WORDS": 1}
    assert table.manifest["inputs"] == 136 == table.rows + 15
    rows = table.read().to_pylist()
    assert [row["text"] for row in rows if row["image_id"] == "a/000.jpg"] == ["None", 'He said ""hi']
    assert {row["split"] for row in rows} == {"train", "tune", "dev"}
    assert len({row["image_id"] for row in rows if row["split"] == "tune"}) == 4
    assert len({row["caption_id"] for row in rows}) == len(rows)
    assert max(len(row["tokens"]) for row in rows) == 50
    screen = capsys.readouterr().out
    assert "captions cut            1" in screen and "captions x images       1 x 10, 2 x 1, " in screen
    assert "blank lines" in screen and "136" in screen


def test_worker_processes_and_a_second_start_give_the_same_table(
    stages: Any, captions: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert prepare_captions.main(command(captions, pictures, one)) == 0
    ended = stages.run(MODULE, *command(captions, pictures, two, "--workers", "2"))
    assert ended.returncode == 0, ended.stderr
    assert stages.same_table(one, two, "captions")
    (two / "_manifest.json").unlink()
    (two / "part-00000.g0.parquet").write_bytes(b"PAR1")
    assert prepare_captions.main(command(captions, pictures, two)) == 0
    assert stages.same_table(one, two, "captions")
    assert prepare_captions.main(command(captions, pictures, two)) == 0


def test_pictures_of_a_regions_table_or_an_archive_are_those_that_exist(
    stages: Any, captions: Path, pictures: Path, undisturbed: Path, tmp_path: Path
) -> None:
    assert prepare_captions.main(command(captions, pictures, tmp_path / "folder")) == 0
    by_table = ["--captions", str(captions), "--regions", str(undisturbed), "--output", str(tmp_path / "table")]
    assert prepare_captions.main(by_table) == 0
    assert stages.same_table(tmp_path / "folder", tmp_path / "table", "captions")
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for path in sorted(pictures.glob("?/*.jpg")):
            tar.add(path, path.name)
    assert prepare_captions.main(command(captions, tmp_path / "photos.tar", tmp_path / "archive")) == 0
    ids = TableReader(str(tmp_path / "archive"), "captions").read()["image_id"].to_pylist()
    assert ids[0] == "photos.tar/001.jpg" and len(ids) == TableReader(str(tmp_path / "folder"), "captions").rows


def test_wordless_captions_are_warned_of(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "t.txt"
    file.write_text("".join(f"000.jpg#{k}\t{'...' if k < 2 else 'a dog'}\n" for k in range(100)))
    assert prepare_captions.main(command(file, pictures, tmp_path / "table", "--default-split", "train")) == 0
    assert "warning: 2 of 100 captions have no words" in capsys.readouterr().err


def test_a_karpathy_file_keeps_restval_and_its_ids(pictures: Path, tmp_path: Path) -> None:
    splits = ("train", "restval", "val", "test")
    images = [
        {"filename": f"{k:03d}.jpg", "split": split, "sentences": [{"raw": "a dog", "sentid": 7 + k}]}
        for k, split in enumerate(splits)
    ]
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps({"images": images}))
    assert prepare_captions.main(command(file, pictures, tmp_path / "table")) == 0
    table = TableReader(str(tmp_path / "table"), "captions")
    assert table.read()["split"].to_pylist() == ["train", "train", "dev", "test"]
    assert table.read()["caption_id"].to_pylist() == ["7", "8", "9", "10"]
    assert table.manifest["counts"]["restval_images"] == 1


def test_mistakes_are_one_sentence(
    captions: Path, pictures: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "table"
    damaged = tmp_path / "regions"
    damaged.mkdir()
    for name, data in (("_manifest.json", (undisturbed / "_manifest.json").read_bytes()), ("_run.json", b"{}")):
        (damaged / name).write_bytes(data)
    base = ["--captions", str(captions), "--output", str(output)]
    for wrong, named in (
        (base, "--images or by --regions"),
        ([*base, "--regions", str(damaged)], "part-00000"),
        ([*base, "--regions", str(tmp_path / "none")], "there is no regions table"),
        ([*base, "--images", str(tmp_path / "none")], "none"),
        (command(tmp_path / "no.txt", pictures, output), "no.txt"),
        (command(captions, pictures, output, "--tune", "99"), "--tune 99"),
        (command(captions, pictures, output, "--format", "karpathy"), "JSON"),
        (command(captions, pictures, output, "--max-tokens", "0"), "--max-tokens 0"),
        (command(captions, pictures, output, "--splits.train", str(tmp_path / "no_list")), "no_list"),
    ):
        assert prepare_captions.main(wrong) == 2, wrong
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1 and named in said, said


def test_another_file_of_the_same_name_is_refused(
    captions: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "table"
    assert prepare_captions.main(command(captions, pictures, output)) == 0
    captions.write_text(captions.read_text() + "002.jpg#8\tone more\n")
    assert prepare_captions.main(command(captions, pictures, output)) == 2
    assert "captions_sha256" in capsys.readouterr().err
    assert prepare_captions.main(command(captions, pictures, output, "--overwrite")) == 0
    assert "one more" in TableReader(str(output), "captions").read()["text"].to_pylist()


def test_a_regions_table_made_anew_is_refused(
    captions: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    regions, output = tmp_path / "regions", tmp_path / "table"
    shutil.copytree(undisturbed, regions)
    argv = ["--captions", str(captions), "--regions", str(regions), "--output", str(output)]
    assert prepare_captions.main(argv) == 0
    assert prepare_captions.main([*argv, "--format", "flickr"]) == 0  # what auto had told
    manifest = json.loads((regions / "_manifest.json").read_text())
    manifest["configuration"]["max_pixels"] = 7
    (regions / "_manifest.json").write_text(json.dumps(manifest))
    assert prepare_captions.main(argv) == 2
    assert "regions.made_of_sha256: there" in capsys.readouterr().err


@pytest.mark.shared
def test_flickr8k_is_prepared_whole(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "flickr8k"
    output = tmp_path / "table"
    whole = command(folder / "Flickr8k.token.txt", folder / "images", output, "--tune", "1000")
    assert prepare_captions.main(whole) == 0
    table = TableReader(str(output), "captions")
    assert table.rows == 35_000 and table.manifest["errors"] == {}
    assert table.manifest["counts"]["images_in_tune"] == 1000
    splits = table.read(["split"])["split"].value_counts().to_pylist()
    assert {entry["values"]: entry["counts"] for entry in splits} == {"train": 25_000, "tune": 5_000, "dev": 5_000}


def test_the_dofn_travels_by_its_module_name() -> None:
    output = Output("memory://x", "captions", tables.CAPTIONS, "prepare_captions", {"a": 1})
    there = pickler.loads(pickler.dumps(prepare_captions.PrepareShard(output, 20)))
    assert type(there) is prepare_captions.PrepareShard
    assert (there.output, there.max_tokens) == (output, 20)
