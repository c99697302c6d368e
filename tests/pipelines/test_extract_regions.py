"""extract_regions on its runners: the same rows everywhere, every input accounted for, its exit statuses."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import socket
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from apache_beam.internal import pickler

from pipelines import extract_regions
from pipelines.commit import CommitShard
from tests.conftest import LONG
from vsalign.errors import InputError, Reason, StoreError, TableError
from vsalign.images import DecodeOptions, ImageInput, decode_image, list_images, locations, read_images
from vsalign.regions import ExtractorConfig, build_extractor
from vsalign.regions.extract import Extracted, ExtractOptions, extract_images
from vsalign.storage import ShardResult, ShardTask, TableReader

MODULE = "pipelines.extract_regions"


def test_every_picture_is_a_row_or_an_error_with_its_reason(stages: Any, pictures: Path, undisturbed: Path) -> None:
    table = TableReader(str(undisturbed), "regions")
    errors = table.errors().to_pylist()
    assert {Path(row["uri"]).name: row["reason"] for row in errors} == stages.bad
    assert all(row["stage"] == "extract_regions" and row["uri"].startswith(str(pictures)) for row in errors)
    assert table.rows == stages.good
    assert table.manifest["inputs"] == stages.good + len(stages.bad)
    assert table.manifest["counts"] == {"litter": 1}
    expected = {str(path.relative_to(pictures)) for path in pictures.glob("?/*.jpg")}
    assert set(table.read(["image_id"])["image_id"].to_pylist()) == expected


def test_of_three_hundred_mutated_pictures_each_is_a_row_or_an_error(stages: Any, tmp_path: Path, mutate: Any) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "mutants").mkdir()
    decodable = set()
    for number in range(300):
        kind = ("JPEG", "PNG", "WEBP")[number % 3]
        name, data = f"{number:03d}.jpg", mutate(stages.picture(number, kind), stages.picture(number + 1, kind), rng)
        (tmp_path / "mutants" / name).write_bytes(data)
        with contextlib.suppress(InputError):
            decode_image(data, name, DecodeOptions())
            decodable.add(name)
    assert 50 < len(decodable) < 250

    arguments = stages.small(tmp_path / "mutants", tmp_path / "table", "--shard-size", "50", "--batch-size", "16")
    assert extract_regions.main(arguments) == 0
    table = TableReader(str(tmp_path / "table"), "regions")
    errors = table.errors().to_pylist()
    assert set(table.read(["image_id"])["image_id"].to_pylist()) == decodable
    assert {Path(error["uri"]).name for error in errors} == {f"{n:03d}.jpg" for n in range(300)} - decodable
    assert (table.rows, len(errors), table.manifest["inputs"]) == (len(decodable), 300 - len(decodable), 300)
    assert all(error["message"] and not Reason(error["reason"]).passing for error in errors)


def test_rows_are_those_of_a_plain_loop(stages: Any, pictures: Path, undisturbed: Path) -> None:
    extractor = build_extractor(ExtractorConfig(name="lite", input_size=64))
    rows = []
    for shard in list_images(ImageInput(str(pictures), shard_size=2)):
        found = extract_images(read_images(shard), extractor, ExtractOptions(batch_size=2, threads=1))
        rows += [item for item in found if isinstance(item, Extracted)]
    table = TableReader(str(undisturbed), "regions").read().to_pylist()
    assert [row["image_id"] for row in table] == [item.image_id for item in rows]
    for row, item in zip(table, rows, strict=True):
        assert (row["uri"], row["width"], row["height"]) == (item.uri, item.width, item.height)
        assert np.array_equal(row["boxes"], item.regions.boxes) and np.array_equal(row["scores"], item.regions.scores)
        assert b"".join(row["features"]) == item.regions.features.astype("<f2").tobytes()


@pytest.mark.parametrize("workers", ["1", "2", "4"] if LONG else ["2"])
def test_worker_processes_give_the_same_table(
    workers: str, stages: Any, pictures: Path, undisturbed: Path, tmp_path: Path
) -> None:
    ended = stages.run(MODULE, *stages.small(pictures, tmp_path / "table", "--workers", workers))
    assert ended.returncode == 0, ended.stderr
    assert stages.same_table(tmp_path / "table", undisturbed)
    assert "extract_regions finished" in ended.stdout
    assert "TRUNCATED  2" in ended.stdout
    assert "WARNING" not in ended.stderr and "Traceback" not in ended.stderr
    assert "44 of 44 images (100.0 %)" in ended.stderr and "4 errors" in ended.stderr


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_bad_input_stops_the_run_where_that_is_asked_for(
    workers: str, stages: Any, pictures: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = stages.small(pictures, tmp_path / "table", "--workers", workers)
    assert extract_regions.main([*arguments, "--on-error", "stop"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ") and said.endswith("(--on-error stop)")
    assert any(f"{name}: " in said and reason in said for name, reason in stages.bad.items())
    assert not (tmp_path / "table" / "_manifest.json").exists()
    assert extract_regions.main(arguments) == 0
    assert stages.same_table(tmp_path / "table", undisturbed)


def test_a_portable_runner_gives_the_same_table(stages: Any, pictures: Path, undisturbed: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    service = [sys.executable, "-m", "apache_beam.runners.portability.local_job_service_main", "--port", str(port)]
    with subprocess.Popen(service, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            ended = stages.run(
                *(MODULE, *stages.small(pictures, tmp_path / "table"), "--runner=PortableRunner"),
                *("--environment_type=LOOPBACK", f"--job_endpoint=localhost:{port}"),
            )
        finally:
            server.terminate()
    assert ended.returncode == 0, ended.stderr
    assert stages.same_table(tmp_path / "table", undisturbed)


def test_a_complete_table_is_left_as_it_is(
    stages: Any, pictures: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    assert extract_regions.main(stages.small(pictures, undisturbed, "--workers", "1", "--decode-threads", "1")) == 0
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()} == before
    screen = capsys.readouterr().out
    assert "complete, nothing was done" in screen and str(undisturbed) in screen and "44" in screen


def test_an_option_that_changes_rows_is_refused_and_named(
    stages: Any, pictures: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extract_regions.main(stages.small(pictures, undisturbed, "--max-pixels", "5000")) == 2
    assert "max_pixels: there" in capsys.readouterr().err


def test_a_cut_archive_gives_its_rows_and_exit_status_3(
    stages: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number in range(4):
            member = tarfile.TarInfo(f"{number}.jpg")
            data = stages.picture(number)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        last = tar.offset - 512
    (tmp_path / "photos.tar").write_bytes(archive.getvalue()[:last])
    output = tmp_path / "table"
    command = stages.small(tmp_path / "photos.tar", output)
    assert extract_regions.main(command) == 3
    table = TableReader(str(output), "regions")
    assert table.read(["image_id"])["image_id"].to_pylist() == [f"photos.tar/{number}.jpg" for number in range(3)]
    assert table.manifest["archive_errors"] == {"INCOMPLETE": 1} and table.manifest["errors"] == {}
    assert "archives not whole" in capsys.readouterr().out
    assert extract_regions.main(command) == 3


def test_passing_failures_are_tried_again_as_the_next_generation(
    stages: Any, pictures: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, read_bytes, tried = tmp_path / "table", locations.read_bytes, Counter[str]()

    def flaky(uri: str, *rest: Any) -> bytes:
        tried[uri] += 1
        if uri.endswith(("003.jpg", "017.jpg")):
            raise InputError(Reason.TIMED_OUT, f"{uri}: timed out", uri)
        return read_bytes(uri, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(locations, "read_bytes", flaky)
        assert extract_regions.main(stages.small(pictures, output)) == 0
    assert TableReader(str(output), "regions").manifest["errors"]["TIMED_OUT"] == 2
    assert extract_regions.main(stages.small(pictures, output)) == 0
    assert stages.same_table(output, undisturbed)
    parts = TableReader(str(output), "regions").shards
    assert Counter(part["file"].split(".")[1] for part in parts) == {"g0": len(parts) - 2, "g1": 2}


def test_a_damaged_part_is_made_again(stages: Any, pictures: Path, undisturbed: Path, tmp_path: Path) -> None:
    output = tmp_path / "table"
    shutil.copytree(undisturbed, output)
    part = output / "part-00003.g0.parquet"
    part.write_bytes(part.read_bytes()[:-50])
    assert extract_regions.main(stages.small(pictures, output)) == 0
    assert stages.same_table(output, undisturbed)
    assert not part.exists() and (output / "part-00003.g1.parquet").exists()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_damaged_plan_is_one_sentence_and_exit_status_2(
    workers: str, stages: Any, pictures: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "table"
    shutil.copytree(undisturbed, output)
    (output / "_manifest.json").unlink()
    (output / "part-00003.g0.parquet").unlink()
    (plan,) = (output / "_plan").iterdir()
    ids = pq.ParquetFile(plan).metadata.row_group(3).column(0)
    data = bytearray(plan.read_bytes())
    data[ids.dictionary_page_offset : ids.dictionary_page_offset + 20] = bytes(20)  # seen by the worker that reads it
    plan.write_bytes(data)
    ended = stages.run(MODULE, *stages.small(pictures, output, "--workers", workers))
    assert ended.returncode == 2, ended.stderr
    extractor, progress, sentence = ended.stderr.strip().split("\n")
    assert extractor.startswith("extractor lite") and progress.startswith("42 of 44 images")
    assert sentence.startswith("error: ") and "_plan/" in sentence and "--overwrite" in sentence


def test_tables_on_an_object_store_are_the_same(stages: Any, pictures: Path, undisturbed: Path) -> None:
    memory = fsspec.filesystem("memory")
    for path in pictures.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/store/{path.relative_to(pictures)}", path.read_bytes())
    assert extract_regions.main(stages.small("memory://store", "memory://tables/regions")) == 0
    ours, theirs = (TableReader(url, "regions").read() for url in ("memory://tables/regions", str(undisturbed)))
    assert ours.drop_columns(["uri"]).equals(theirs.drop_columns(["uri"]))


def test_given_boxes_are_part_of_what_the_table_is(
    stages: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(stages.picture(1))
    annotation = {"image_id": 1, "bbox": [1, 2, 10, 20]}
    image = {"id": 1, "file_name": "a.jpg", **dict(zip(("width", "height"), _size(stages.picture(1)), strict=True))}
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"images": [image], "annotations": [annotation]}))
    given = ("--extractor.name", "given", "--extractor.boxes", str(boxes))
    assert extract_regions.main(stages.small(tmp_path / "photos", tmp_path / "table", *given)) == 0
    assert TableReader(str(tmp_path / "table"), "regions").read()["boxes"][0][1].as_py() == [1, 2, 11, 22]
    annotation["bbox"] = [1, 2, 10, 21]
    boxes.write_text(json.dumps({"images": [image], "annotations": [annotation]}))
    assert extract_regions.main(stages.small(tmp_path / "photos", tmp_path / "table", *given)) == 2
    assert "boxes_sha256" in capsys.readouterr().err


def test_the_dofn_travels_by_its_module_name() -> None:
    output = extract_regions.Output("memory://x", "regions", extract_regions.tables.regions_schema(4), "s", {})
    options = extract_regions.ReadOptions()
    dofn = extract_regions.ExtractShard(output, ExtractorConfig(), ExtractOptions(batch_size=3), options)
    there = pickler.loads(pickler.dumps(dofn))
    assert type(there) is extract_regions.ExtractShard
    assert (there.output, there.extractor, there.options) == (output, ExtractorConfig(), ExtractOptions(batch_size=3))


def test_a_store_that_fails_a_worker_is_not_taken_for_a_persons_mistake() -> None:
    class Failing(CommitShard):
        def __init__(self, error: Exception) -> None:
            self.error = error

        def commit(self, task: ShardTask) -> ShardResult:
            raise self.error

    task = ShardTask(0, "plan", 0)
    with pytest.raises(StoreError):
        list(Failing(StoreError("503")).process(task))
    refusing = Failing(TableError("a full disk"))
    assert list(refusing.process(task)) == ["TableError: a full disk"] and refusing.refused
    assert list(refusing.process(task)) == [], "it is told once"


def _size(data: bytes) -> tuple[int, int]:
    from PIL import Image

    return Image.open(io.BytesIO(data)).size
