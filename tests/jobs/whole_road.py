"""The whole road as a person types it, at any root, and what its tables and models differ in from another root's."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.jobs.clusters import REPOSITORY, ray_cluster
from tests.jobs.stores import EMULATED
from vsalign.datasets.scenes.files import write_scenes
from vsalign.storage import TableReader

TABLES = ("captions", "regions", "segments", "descriptions")
MODELS = ("alignment", "mrnn")
LONGEST = 300.0
"""Seconds that a command may take."""


@dataclass(frozen=True)
class Compared:
    """A road on a failing store, beside the local one."""

    protocol: str
    requests: Counter[str]
    """By what became of them."""
    differences: list[str]


def roads_beside_local(
    folder: Path, protocols: Sequence[str], pictures: int, seed: int = 0, *, whole: bool = True
) -> list[Compared]:
    """Go the road in a local folder and on failing stores, and compare; not `whole`: without Ray's part of it."""
    local = folder / "local"
    write_inputs(local / "scenes", pictures)
    found = []
    with contextlib.ExitStack() as open_ones:
        stores = [open_ones.enter_context(EMULATED[each](seed + n)) for n, each in enumerate(protocols)]
        environment = {name: value for store in stores for name, value in store.environment.items()}
        if whole:
            cluster = open_ones.enter_context(ray_cluster(environment=environment))
            environment |= cluster.environment
        walk(str(local), environment, whole=whole)
        for store in stores:
            root = f"{store.url}/road"
            store.put(local / "scenes", "road/scenes")
            walk(root, environment, whole=whole)
            copy = folder / store.protocol
            store.get("road", copy)
            found.append(Compared(store.protocol, store.proxy.counts, differences(copy, root, local, str(local))))
    return found


def write_inputs(folder: Path, pictures: int) -> None:
    """Scenes with captions and splits; one picture that is none, and two more in an archive."""
    write_scenes(str(folder), pictures, 0, {"train": 0.5, "tune": 0.25, "dev": 0.25})
    images = folder / "images"
    (images / "00003.jpg").write_bytes(b"<html>not found</html>")
    with tarfile.open(images / "more.tar", "w") as tar:
        for name in ("00000.jpg", "00001.jpg"):
            tar.add(images / name, f"old/{name}")


def commands(root: str) -> list[list[str]]:
    """Module and words of each command of the road; its inputs are at ROOT/scenes."""
    images, captions = ["--images", f"{root}/scenes/images"], ["--captions", f"{root}/captions"]
    regions, alignment, mrnn = ["--regions", f"{root}/regions"], f"{root}/alignment", f"{root}/mrnn"
    sizes = ["--model.hidden", "16", "--model.word-dim", "8", "--min-count", "2"]
    schedule = ["--epochs", "2", "--batch-size", "8", "--warmup", "5", "--cpus-per-worker", "1"]

    def to(name: str) -> list[str]:
        return ["--output", f"{root}/{name}"]

    lite = ["--extractor.name", "lite", "--extractor.input-size", "64", "--shard-size", "4", "--threads", "1"]
    train_mrnn = [*regions, *captions, "--segments", f"{root}/segments", *schedule, *sizes, "--recipe", "mrnn"]
    describe = ["--model", mrnn, "--region-model", mrnn, "--max-regions", "2", "--decode.max-words", "6"]
    shards = ["--shard-size", "4", "--batch-size", "4", "--actors", "1"]
    return [
        ["pipelines.prepare_captions", "--captions", f"{root}/scenes/captions.txt", *images, *to("captions")],
        ["pipelines.extract_regions", *images, *lite, *to("regions")],
        ["jobs.train_alignment", *regions, *captions, *schedule, *sizes, "--recipe", "paper", "--model.h", "16",
         *to("alignment")],
        ["jobs.align_segments", *regions, *captions, "--model", alignment, "--actors", "1", *to("segments")],
        ["jobs.train_mrnn", *train_mrnn, *to("mrnn")],
        ["jobs.caption_images", *images, *describe, *shards, *to("descriptions")],
    ]  # fmt: skip


def walk(root: str, environment: Mapping[str, str], *, whole: bool) -> None:
    """Go the road; raises AssertionError, with what was said, where a command does not end with 0."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    own |= {"OMP_NUM_THREADS": "1", **environment}
    for module, *words in commands(root):
        if whole or module.startswith("pipelines."):
            command = [sys.executable, "-m", module, *words]
            done = subprocess.run(command, cwd=REPOSITORY, env=own, capture_output=True, text=True, timeout=LONGEST)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def differences(ours: Path, our_root: str, theirs: Path, their_root: str) -> list[str]:
    """In what copies of two roads differ, whose roots were these: rows, errors, weights, and files that lie there."""
    found = []
    for name in (name for name in TABLES if (theirs / name).exists()):
        tables = [TableReader(str(copy / name), name) for copy in (ours, theirs)]
        rows, errors = (
            [
                json.dumps(part.to_pylist(), default=bytes.hex).replace(root, "ROOT")
                for part, root in zip(parts, (our_root, their_root), strict=True)
            ]
            for parts in ([table.read() for table in tables], [table.errors() for table in tables])
        )
        assert tables[0].rows, f"{name} holds nothing to compare"
        found += [f"{name}: rows"] * (rows[0] != rows[1]) + [f"{name}: errors"] * (errors[0] != errors[1])
    for name in (name for name in MODELS if (theirs / name).exists()):
        weights = [(copy / name / "model.safetensors").read_bytes() for copy in (ours, theirs)]
        found += [f"{name}: weights"] * (weights[0] != weights[1])
    left = [_files(copy) for copy in (ours, theirs)]
    return found + sorted(f"only in one: {name}" for name in left[0] ^ left[1])


def _files(folder: Path) -> set[str]:
    """The names of all files of tables and models, with a random attempt's id left out."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {re.sub(r"\.[0-9a-f]{12}\.", ".ATTEMPT.", name) for name in names if not name.startswith("scenes/")}
