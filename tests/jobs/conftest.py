"""A small road to run jobs on: scenes, their regions and captions, models, and a Ray cluster that all tests share."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pytest
import torch

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

REPOSITORY = Path(__file__).parents[2]
LONG = bool(os.environ.get("VSALIGN_LONG"))
"""Whether tests that repeat themselves do it as often as the issues ask for."""
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


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    root = tmp_path_factory.mktemp("road")
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


def command_line(pid: int) -> str:
    """Of a running process; empty for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def family_of(ancestor: int) -> dict[int, str]:
    """The process ids and command lines of all that descend from a process."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = {ancestor}
    while new := {child for child, parent in parents.items() if parent in found} - found:
        found |= new
    return {pid: command_line(pid) for pid in found - {ancestor}}


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

    yield starter
    for job in started:
        if job.process.poll() is None:
            job.process.kill()


@dataclass
class Cluster:
    """A Ray cluster on this machine."""

    head: subprocess.Popen[bytes]
    environment: dict[str, str]
    """In which a job finds it, as `ray job submit` makes it."""
    metrics: str
    """Where Prometheus would read."""
    others: Sequence[subprocess.Popen[bytes]] = ()
    """Its nodes beside the head."""
    dashboard: str = ""
    """Where jobs are submitted."""

    def workers(self, kind: str, node: int = 0) -> list[int]:
        """The process ids of a node's workers and actors of a kind; 0: the head's."""
        family = family_of([self.head, *self.others][node].pid)
        return [pid for pid, command in family.items() if command.startswith("ray::") and kind in command]

    def kill(self, number: int) -> None:
        """As a machine that is taken away: all processes of one of the others, at once."""
        node = self.others[number]
        for pid in [node.pid, *family_of(node.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait(10)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def ray_cluster(more_nodes: int = 0, dashboard: bool = False) -> Iterator[Cluster]:
    """Nodes of two CPUs each on this machine, the head's and others, which ask for a token; jobs may be submitted."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # short: Ray's sockets below it have at most 107 bytes
    port, metrics, submitting = (free_port() for _ in range(3))
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": f"{random.getrandbits(128):032x}"}
    head = ["--head", f"--port={port}", f"--metrics-export-port={metrics}", f"--temp-dir={folder}"]
    shown = [f"--dashboard-port={submitting}"] if dashboard else ["--include-dashboard=false"]
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(1 + more_nodes):
            options = [f"--address=127.0.0.1:{port}"] if number else [*head, *shown]
            nodes.append(_node(folder / f"{number}.log", token, options))
        environment = {"RAY_ADDRESS": f"127.0.0.1:{port}", **token}
        url = "http://127.0.0.1:"
        yield Cluster(nodes[0], environment, f"{url}{metrics}/metrics", nodes[1:], f"{url}{submitting}")
    finally:
        for node in nodes:
            for pid in [node.pid, *family_of(node.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            node.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _node(log: Path, token: dict[str, str], options: list[str]) -> subprocess.Popen[bytes]:
    """A node of two CPUs, once it runs."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, "--num-cpus=2", "--disable-usage-stats"]
    command += [f"--dashboard-agent-listen-port={free_port()}"]  # its usual one may be another Ray's
    with open(log, "w") as said:
        node = subprocess.Popen(
            [*command, f"--object-store-memory={100 * 2**20}", "--block"],
            cwd=REPOSITORY,
            env={**os.environ, **token, "OMP_NUM_THREADS": "1", "RAY_metrics_report_interval_ms": "1000"},
            stdout=said,
            stderr=said,
        )
    until = time.monotonic() + 90
    while "Ray runtime started" not in (text := log.read_text()):
        assert node.poll() is None and time.monotonic() < until, text
        time.sleep(0.2)
    return node


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Started once for all tests: a local Ray takes each job ten seconds and more."""
    with ray_cluster() as started:
        yield started
