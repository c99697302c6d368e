"""A small road to run jobs on: scenes, their regions and captions, models, and a Ray cluster that all tests share."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pytest
import torch

from tests.jobs.clusters import REPOSITORY, Cluster, family_of, ray_cluster
from vsalign import tables
from vsalign.alignment import AlignmentModel, AlignmentModelConfig
from vsalign.checkpoint import save_model
from vsalign.datasets.scenes.files import split_of, write_scenes
from vsalign.generation import MRNN, DescriberConfig
from vsalign.images import ImageInput, list_images, read_images
from vsalign.regions import ExtractorConfig, build_extractor
from vsalign.regions.extract import ExtractOptions, extract_shard
from vsalign.storage import Output, Stage, TableReader
from vsalign.text import Vocabulary, tokenize

SCENES, PICTURES_A_SHARD = 48, 3
SPLITS = {"train": 0.75, "tune": 0.125, "dev": 0.125}


@dataclass(frozen=True)
class Road:
    """Where everything is."""

    images: str
    regions: str
    captions: str
    alignment: str
    """A model of random weights."""
    mrnn: str
    region_mrnn: str


def write_table(output: Output, shards: list[list[dict[str, Any]]]) -> TableReader:
    """A complete table of such rows."""
    stage = Stage(output)
    stage.plan([[{"row": "any"}] for _ in shards], pa.schema([("row", pa.string())]), {})
    for task in stage.pending():
        writer = output.open_shard(task)
        writer.write(shards[task.shard])
        writer.commit(len(shards[task.shard]))
    stage.finish()
    return TableReader(output.url, output.table)


def write_regions(url: str, images: str) -> TableReader:
    """Regions of pictures, by lite at 64 px."""
    extractor = build_extractor(ExtractorConfig(name="lite", input_size=64))
    schema = tables.regions_schema(extractor.dim)
    output = Output(url, "regions", schema, "test", {}, {"extractor": extractor.identity()})
    stage = Stage(output)
    plan = pa.schema([(name, pa.string()) for name in ("image_id", "uri", "kind", "reason", "message")])
    stage.plan(list_images(ImageInput(images, shard_size=PICTURES_A_SHARD)), plan, {})
    for task in stage.pending():
        pictures = read_images(output.read_plan(task))
        extract_shard(pictures, extractor, ExtractOptions(threads=1), output.open_shard(task))
    stage.finish()
    return TableReader(url, "regions")


def write_captions(url: str, scenes: Path) -> TableReader:
    """The scenes' captions with their splits, and one of a picture that is not there."""
    rows = []
    for line in [*(scenes / "captions.txt").read_text("utf-8").splitlines(), "lost.jpg#0\ta lost picture"]:
        caption_id, text = line.split("\t")
        image_id = caption_id.split("#")[0]
        split = "dev" if image_id == "lost.jpg" else split_of(int(image_id.split(".")[0]), SPLITS)
        words = {"split": split, "text": text, "tokens": tokenize(text)}
        rows.append({"image_id": image_id, "caption_id": caption_id, **words})
    return write_table(Output(url, "captions", tables.CAPTIONS, "test", {}), [rows])


def make_road(root: Path) -> Road:
    """Its inputs, tables and models, in a folder."""
    write_scenes(str(root / "scenes"), SCENES, 0, SPLITS)
    made = Road(*(str(root / name) for name in ("scenes/images", "regions", "captions", "alignment", "mrnn", "other")))
    regions = write_regions(made.regions, made.images)
    captions = write_captions(made.captions, root / "scenes")
    vocabulary = Vocabulary.build(captions.read(["tokens"])["tokens"].to_pylist(), 3)
    extractor = regions.properties["extractor"]
    torch.manual_seed(1)
    alignment = AlignmentModel(extractor["dim"], len(vocabulary), AlignmentModelConfig(h=16, hidden=16, word_dim=8))
    save_model(made.alignment, "alignment", alignment, vocabulary, extractor, {})
    for url in (made.mrnn, made.region_mrnn):
        mrnn = MRNN(extractor["dim"], len(vocabulary), DescriberConfig(hidden=16, word_dim=8))
        save_model(url, "describer", mrnn, vocabulary, extractor, {})
    return made


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    return make_road(tmp_path_factory.mktemp("road"))


@dataclass
class Job:
    """A job's process; its standard error is read as it comes."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert self.process.stderr
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[str]) -> None:
        self.said.extend(stream)

    def wait_for(self, happened: Callable[[], bool], seconds: float = 90.0) -> None:
        """Wait until something has happened; fails where the process ends before, or it takes too long."""
        until = time.monotonic() + seconds
        while not happened():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {''.join(self.said)}"
            assert time.monotonic() < until, f"nothing happened in {seconds} s: {''.join(self.said)}"
            time.sleep(0.01)

    def wait_for_files(self, folder: Path, pattern: str, count: int = 1) -> None:
        self.wait_for(lambda: len(list(folder.glob(pattern))) >= count)

    def wait_for_line(self, text: str) -> None:
        self.wait_for(lambda: any(text in line for line in self.said))

    def kill(self) -> None:
        """SIGKILL, as a preempted machine gets it."""
        assert self.process.poll() is None, f"ended with {self.process.returncode}: {''.join(self.said)}"
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait(30) == -signal.SIGKILL

    def family(self) -> dict[int, str]:
        """The process ids and command lines of all that descend from it."""
        return family_of(self.process.pid)

    def finish(self) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        assert self.process.stdout
        out = self.process.stdout.read()
        status = self.process.wait(100)
        self._reader.join(10)
        return status, out, "".join(self.said)


@pytest.fixture
def start() -> Iterator[Callable[..., Job]]:
    with starting() as starter:
        yield starter


@contextlib.contextmanager
def starting() -> Iterator[Callable[..., Job]]:
    """Start a job, `start("train_mrnn", "--output", ...)`; what a failed test leaves running is ended."""
    started: list[Job] = []

    def starter(name: str, *arguments: str, **environment: str) -> Job:
        command = [sys.executable, "-m", f"jobs.{name}", *arguments]
        own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**own, "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(Job(process))
        return started[-1]

    try:
        yield starter
    finally:
        for job in started:
            if job.process.poll() is None:
                job.process.kill()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Started once for all tests: a local Ray takes each job ten seconds and more."""
    with ray_cluster() as started:
        yield started


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch computes here as a job's worker of one CPU does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
