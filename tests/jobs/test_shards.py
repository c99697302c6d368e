"""align_segments and caption_images: killed at any moment, on any number of actors, the same table."""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import tarfile
import time
import urllib.request
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from jobs import align_segments, caption_images
from jobs.described_inputs import Pictures
from tests.conftest import LONG
from tests.jobs.directly import describe_here, described_as
from vsalign import tables
from vsalign.alignment.annotate import PAIR_PLAN, Annotator, annotate_shard, plan_pairs
from vsalign.alignment.placing import Placing
from vsalign.checkpoint import LoadedModel, load_model, save_model
from vsalign.generation import MRNN, DescriberConfig
from vsalign.regions import ExtractorFiles
from vsalign.storage import Output, Stage, TableReader
from vsalign.text import Vocabulary

KILLS = range(5 if LONG else 1)
"""Seeds of the moments at which a run is killed."""

BETA = 0.1
STAGE = 'stage="caption_images"'


def kill_after_a_few_shards(job: Any, output: Path, seed: int) -> None:
    """SIGKILL the driver at a random moment at which some shards are committed, and not all."""
    moment = random.Random(seed)
    shards = moment.randint(1, 4)
    job.wait_for(lambda: len(list(output.glob("part-*"))) >= shards)
    time.sleep(moment.random() / 20)
    job.kill()
    assert not (output / "_manifest.json").exists()


@pytest.fixture(scope="module")
def segments(road: Any, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> TableReader:
    """The segments table as it comes out without Ray."""
    url = str(tmp_path_factory.mktemp("direct") / "segments")
    output = Output(url, "segments", tables.SEGMENTS, "align_segments", {})
    regions, captions = TableReader(road.regions, "regions"), TableReader(road.captions, "captions")
    model = load_model(road.alignment, "alignment")
    annotator = Annotator(model.model, model.reader(), Placing(beta=BETA))
    stage = Stage(output)
    stage.plan(plan_pairs(regions, captions), PAIR_PLAN, {})
    for task in stage.pending():
        annotate_shard(output.read_plan(task), regions, annotator, output.open_shard(task))
    stage.finish()
    return TableReader(url, "segments")


@pytest.mark.timeout(200)
@pytest.mark.parametrize("seed", KILLS)
def test_killed_alignment_of_segments_equals_an_undisturbed_one(
    seed: int, road: Any, segments: TableReader, start: Any, cluster: Any, tmp_path: Path, capsys: Any
) -> None:
    output = tmp_path / "segments"
    arguments = ["--regions", road.regions, "--captions", road.captions, "--model", road.alignment]
    arguments += ["--output", str(output), "--beta", str(BETA)]
    job = start("align_segments", *arguments, "--actors", "1", **cluster.environment)
    kill_after_a_few_shards(job, output, seed)
    committed = {path: path.stat().st_mtime_ns for path in output.glob("part-*")}
    status, out, said = start("align_segments", *arguments, "--actors", "2", **cluster.environment).finish()
    assert status == 0, said
    table = TableReader(str(output), "segments")
    assert table.read().equals(segments.read())
    assert (
        table.errors()
        .select(["uri", "reason", "message"])
        .equals(segments.errors().select(["uri", "reason", "message"]))
    )
    assert {path: path.stat().st_mtime_ns for path in committed} == committed  # none was made twice
    assert "align_segments finished" in out and "MISSING_REGIONS" in out and "done before" in out
    assert "Traceback" not in said and "core_worker" not in said and said.count("\n") <= 3, said
    # What is complete needs no Ray.
    assert align_segments.main(arguments) == 0
    assert "the table was complete, nothing was done" in capsys.readouterr().out
    assert align_segments.main([*arguments, "--beta", "2"]) == 2
    assert "beta: there 0.1, asked 2.0" in capsys.readouterr().err


def scraped_while(job: Any, url: str) -> str:
    """What Prometheus read of the cluster, again and again until a job had ended."""
    seen = ""
    while job.process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            seen += answer.read().decode()
        time.sleep(0.1)
    return seen


def archive(url: Path, pictures: list[Path]) -> None:
    """A tar of pictures that ends inside its last member."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for picture in pictures:
            tar.add(picture, picture.name)
    url.write_bytes(whole.getvalue()[: whole.tell() - 12000])


@pytest.fixture(scope="module")
def photographs(road: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, one of them none, and an archive that ended early."""
    folder = tmp_path_factory.mktemp("photographs")
    pictures = sorted(Path(road.images).iterdir())
    for picture in pictures[:24]:
        shutil.copy(picture, folder)
    (folder / "00005.jpg").write_bytes(b"<html>not found</html>")
    archive(folder / "more.tar", pictures[24:27])
    return folder


@pytest.mark.timeout(250)
@pytest.mark.parametrize("seed", KILLS)
def test_killed_captioning_equals_the_tables_of_regions_described_without_ray(
    seed: int, road: Any, photographs: Path, one_thread: None, start: Any, cluster: Any, tmp_path: Path
) -> None:
    output = tmp_path / "descriptions"
    arguments = ["--images", str(photographs), "--output", str(output), *described_as(road)]
    job = start("caption_images", *arguments, "--actors", "1", **cluster.environment)
    kill_after_a_few_shards(job, output, seed)
    again = start("caption_images", *arguments, "--actors", "2", **cluster.environment)
    seen = scraped_while(again, cluster.metrics)
    status, out, said = again.finish()
    assert "vsalign_inputs_total{" in seen and STAGE in seen
    assert status == 3, said  # the archive ended early; what it held is described
    assert "archives not whole" in out and "NOT_IMAGE" in out
    table = TableReader(str(output), "descriptions")
    found = {row["image_id"]: row for row in table.read().to_pylist()}
    assert len(found) == table.rows == 23 + sum(name.startswith("more.tar/") for name in found)
    for row in found.values():
        if not row["image_id"].startswith("more.tar/"):
            assert row["content_hash"] == blake2b(Path(row["uri"]).read_bytes(), digest_size=16).hexdigest()
    assert {Path(row["uri"]).name: row["reason"] for row in table.errors().to_pylist()} == {
        "00005.jpg": "NOT_IMAGE",
        "more.tar": "INCOMPLETE",
    }
    # Without the shard that lost a picture, the batches are the same ones.
    compared = 0
    for row in describe_here(road, tmp_path / "direct", shards=8):
        if row["image_id"] not in ("00003.jpg", "00004.jpg", "00005.jpg"):
            mine = found[row["image_id"]]
            assert {**mine, "uri": "", "content_hash": None} == {**row, "uri": ""}
            compared += 1
    assert compared == 21


@pytest.fixture(scope="module")
def stranger(road: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Models whose features are of another extractor."""
    root = tmp_path_factory.mktemp("stranger")
    known = load_model(road.mrnn, "describer")
    other = {**known.extractor, "input_size": 448}
    save_model(str(root / "mrnn"), "describer", known.model, known.vocabulary, other, {})
    aligned = load_model(road.alignment, "alignment")
    save_model(str(root / "alignment"), "alignment", aligned.model, aligned.vocabulary, other, {})
    given = {**known.extractor, "name": "given", "top_k": 19}
    save_model(str(root / "given"), "describer", known.model, known.vocabulary, given, {})
    unknown = {"name": "detectron9", "dim": 6}
    small = MRNN(6, 6, DescriberConfig(hidden=2, word_dim=2))
    save_model(str(root / "unknown"), "describer", small, Vocabulary(["a", "b"]), unknown, {})
    return {name.upper(): str(root / name) for name in ("mrnn", "alignment", "given", "unknown")}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"--regions": "/nowhere"}, "there is no regions table at /nowhere"),
        ({"--model": "/nowhere"}, "there is no model at /nowhere"),
        ({"--model": "ROAD MRNN"}, "holds a model of the kind 'describer' where 'alignment' is needed"),
        ({"--model": "ALIGNMENT"}, "are another extractor's than those the model"),
        ({"--beta": "-1"}, "--beta -1"),
        ({"--beta": "nan"}, "--beta nan"),
        ({"--splits": "trian"}, "has no captions of the split 'trian'"),
        ({"--actors": "9", "--num-cpus": "2"}, "let them be shared with --num-cpus 9"),
        ({"--cpus-per-actor": "0"}, "--cpus-per-actor 0"),
        ({"--address": "auto:x"}, "no Ray cluster can be used at auto:x"),
        ({"--address": "ray://head:10001"}, "Ray Client is not used"),
        ({"--output": "ROAD REGIONS"}, "holds a regions table, not segments"),
    ],
)
def test_a_mistake_of_align_segments_is_one_sentence_and_status_2(
    changes: dict[str, str], sentence: str, road: Any, stranger: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    options = {"--regions": road.regions, "--captions": road.captions, "--model": road.alignment}
    refused(align_segments, {**options, "--output": str(tmp_path / "out"), **changes}, road, stranger, sentence, capsys)


def test_an_empty_input_leaves_the_output_as_it_was(road: Any, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "photos").mkdir()
    output = tmp_path / "table"
    argv = ["--images", str(tmp_path / "photos"), "--model", road.mrnn, "--output", str(output)]
    assert caption_images.main(argv) == 2
    assert "holds nothing to read" in capsys.readouterr().err and not output.exists()
    claim = Output(str(output), "descriptions", tables.DESCRIPTIONS, "caption_images", {})
    Stage(claim).plan([], tables.pa.schema([("row", tables.pa.string())]), {})
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert caption_images.main([*argv, "--overwrite"]) == 2
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before != {}


def test_torchvisions_own_weights_are_no_path(tmp_path: Path) -> None:
    files = ExtractorFiles(weights="COCO_V1")
    options = caption_images.Options(model="m", images=str(tmp_path), output="o", extractor=files)
    trained = LoadedModel("m", "mrnn", None, Vocabulary(["a"]), {"name": "torchvision"}, {}, "")
    assert isinstance(described := options.described_input(trained), Pictures)
    assert described.files.weights == "COCO_V1"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"--images": "/nowhere"}, "there is no file or folder /nowhere"),
        ({"--images": ""}, "--images or by --regions"),
        ({"--regions": "ROAD REGIONS"}, "and not by both"),
        (
            {"--images": "", "--regions": "ROAD REGIONS", "--model": "MRNN"},
            "are another extractor's than those the model",
        ),
        ({"--model": "ROAD ALIGNMENT"}, "holds a model of the kind 'alignment' where 'describer' is needed"),
        ({"--region-model": "MRNN"}, "give two that were trained on the same extractor's"),
        ({"--ensemble": "MRNN"}, "give two that were trained on the same extractor's"),
        ({"--model": "GIVEN"}, "the model was trained on given boxes: name a COCO JSON"),
        ({"--model": "UNKNOWN"}, "which this vsalign cannot extract"),
        ({"--extractor.boxes": "/boxes.json"}, "finds its own; leave it out"),
        ({"--extractor.weights": "/nowhere.bin"}, "/nowhere.bin"),
        ({"--decode.beam": "0"}, "beam 0"),
        ({"--batch-size": "0"}, "batch_size is 0"),
        ({"--shard-size": "0"}, "--shard-size 0"),
        ({"--decode.beams": "3"}, "did you mean --decode.beam?"),
    ],
)
def test_a_mistake_of_caption_images_is_one_sentence_and_status_2(
    changes: dict[str, str], sentence: str, road: Any, stranger: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    options = {"--images": road.images, "--model": road.mrnn, "--output": str(tmp_path / "out"), **changes}
    refused(caption_images, options, road, stranger, sentence, capsys)


def refused(job: Any, options: dict[str, str], road: Any, stranger: dict[str, str], sentence: str, capsys: Any) -> None:
    places = {f"ROAD {name.upper()}": place for name, place in vars(road).items()} | stranger
    assert (
        job.main([word for name, value in options.items() if value for word in (name, places.get(value, value))]) == 2
    )
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and said.startswith("error: "), said
