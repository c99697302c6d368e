"""The whole stage over mutants: damaged pictures and archives, each of which ends as a row or an error.

python -m tests.benchmarks.fuzz --mutants 10000 --seed 0 --json FILE
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tests.benchmarks.archives import APPLE_DOUBLE, archive
from tests.benchmarks.measured import Ended, run_to_its_end
from tests.benchmarks.mutants import Mutants, Rng
from tests.benchmarks.originals import originals, photographs
from tests.benchmarks.record import write_record
from tests.conftest import SHARED
from tests.pipelines.stages import Stages
from vsalign.images.names import escape
from vsalign.storage import TableReader
from vsalign.storage.layout import PLAN

MODULE = "pipelines.extract_regions"
A_FOLDER = 500
"""Files a folder."""
ODD = ("", " b", "#c", "?d", "%20e", "[1]", "\u00e9", "a::b", "'$`", "\udcff", "\n", "\\x41", "*", ".v1")
ENDINGS = ("jpg", "JPG", "jpeg", "png", "xyz", "tif", "gif", "webp")
MOST_MEMORY = int(2.5e9)
"""Bytes. A guess; runs of 10,000 mutants, some of them of nearly the most pixels that are decoded, peaked at 2.05 and
2.11 GB."""


@dataclass
class Corpus:
    """Mutants as files below `folder`, and what must become of them."""

    folder: Path
    sound: dict[str, bool] = field(default_factory=dict)
    """URI of each loose picture -> whether nothing was damaged, so that it must be a row."""
    archives: dict[str, int | None] = field(default_factory=dict)
    """URI of each archive -> its number of inputs, where the archive itself is sound."""
    litter: set[str] = field(default_factory=set)
    """URIs of those loose pictures whose bytes are a companion file's: no inputs."""
    mutants: int = 0


def write_corpus(folder: Path, mutants: int, seed: int) -> Corpus:
    """About `mutants` damaged things: seven tenths loose pictures, the others archives of one to eight members."""
    corpus, rng = Corpus(folder), np.random.default_rng(seed)
    real = SHARED / "data" / "flickr8k" / "images"
    source = Mutants(originals(photographs(real if real.is_dir() else None, 4, rng)))
    number = 0
    while corpus.mutants < mutants:
        place = folder / f"{number // A_FOLDER:03d}"
        place.mkdir(parents=True, exist_ok=True)
        if rng.random() < 0.06:
            made = archive(source, rng, int(rng.integers(1, 9)))
            path = place / f"{number:06d}{_odd(rng)}.{made.ending}"
            path.write_bytes(made.data)
            corpus.archives[escape(str(path))] = made.inputs
            corpus.mutants += made.mutants
        else:
            _write_picture(corpus, place, number, source, rng)
        number += 1
    return corpus


def _write_picture(corpus: Corpus, place: Path, number: int, source: Mutants, rng: Rng) -> None:
    sound = bool(rng.random() < 0.05)
    ending, data = source.original(rng) if sound else source.picture(rng)
    ending = f".{ending}" if rng.random() < 0.8 else ("", f".{ENDINGS[rng.integers(len(ENDINGS))]}")[rng.integers(2)]
    path = place / f"{number:06d}{_odd(rng)}{ending}"
    path.write_bytes(data)
    corpus.sound[escape(str(path))] = sound
    if data.startswith(APPLE_DOUBLE):
        corpus.litter.add(escape(str(path)))
    corpus.mutants += not sound


def _odd(rng: Rng) -> str:
    return ODD[rng.integers(len(ODD))] if rng.random() < 0.3 else ""


def extracted(corpus: Corpus, output: Path, workers: int, *more: str) -> Ended:
    """Run the stage over the corpus; AssertionError where it crashes, hangs, warns or takes too much memory."""
    size = ("--shard-size", "100", "--batch-size", "16", "--decode-threads", "2", *more)
    command = Stages().small(corpus.folder, output, *size, "--workers", str(workers))
    ended = run_to_its_end(MODULE, command, output.with_suffix(".log"), 120 + corpus.mutants / 5)
    assert ended.status in (0, 3), f"exit status {ended.status}: {ended.unexpected[-20:]}"
    assert not ended.unexpected, ended.unexpected[:20]
    assert ended.peak < MOST_MEMORY, f"{ended.peak / 1e9:.2f} GB"
    return ended


def account_for(corpus: Corpus, output: Path) -> dict[str, Any]:
    """Check that every input is a row or an error, once, and every row sound; the counts. AssertionError otherwise."""
    table = TableReader(str(output), "regions")
    manifest, errors = table.manifest, table.errors().to_pylist()
    rows = [check_row(row) for batch in table.batches() for row in batch.to_pylist()]
    ids = Counter(row["image_id"] for row in rows)
    assert not [name for name, count in ids.items() if count > 1], "an image_id is there twice"
    planned = Counter(kind for file in plan_files(output) for kind in pq.read_table(file)["kind"].to_pylist())
    assert planned == Counter(image=len(corpus.sound), archive=len(corpus.archives)), planned

    as_rows = Counter(_whose(row["uri"]) for row in rows)
    whole = [row["uri"] for row in errors if row["uri"] in corpus.archives]
    as_errors = Counter(_whose(row["uri"]) for row in errors if row["uri"] not in corpus.archives)
    for uri, sound in corpus.sound.items():
        became = as_rows[uri], as_errors[uri]
        if uri in corpus.litter:
            assert became == (0, 0), uri
        else:
            assert became == (1, 0) or (not sound and became == (0, 1)), uri
    for uri, inputs in corpus.archives.items():
        assert inputs is None or (as_rows[uri] + as_errors[uri] == inputs and uri not in whole), uri
    assert {*as_rows, *as_errors} <= corpus.sound.keys() | corpus.archives.keys()
    assert max(Counter(whole).values(), default=0) <= 1, "an archive has two errors of its own"
    assert (
        manifest["inputs"]
        == len(rows) + len(errors) - len(whole)
        == manifest["rows"] + sum(manifest["errors"].values())
    )
    assert sum(manifest["archive_errors"].values()) == len(whole)
    return {
        "mutants": corpus.mutants,
        "files": len(corpus.sound),
        "archives": len(corpus.archives),
        "inputs": manifest["inputs"],
        "rows": len(rows),
        "errors": manifest["errors"],
        "archive_errors": manifest["archive_errors"],
    }


def check_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row's names; AssertionError where a number in it is not finite, or a box lies outside its picture."""
    boxes = np.asarray(row["boxes"], np.float32).reshape(-1, 4)
    features = np.frombuffer(b"".join(row["features"]), "<f2")
    assert len(boxes) == len(row["scores"]) == len(row["features"]) > 0, row["uri"]
    assert np.isfinite(features).all() and np.isfinite(row["scores"]).all() and np.isfinite(boxes).all(), row["uri"]
    assert (boxes >= 0).all() and (boxes[:, 0::2] <= row["width"]).all() and (boxes[:, 1::2] <= row["height"]).all()
    assert boxes[0].tolist() == [0, 0, row["width"], row["height"]], row["uri"]
    return {"image_id": row["image_id"], "uri": row["uri"]}


def plan_files(output: Path) -> Iterator[Path]:
    """The files of a table's plan."""
    for name, _ in json.loads((output / PLAN).read_bytes())["files"]:
        yield output / name


def _whose(uri: str) -> str:
    """The file that holds what a URI names."""
    return uri.partition("!/")[0]


def fuzz(folder: Path, mutants: int, seed: int, workers: tuple[int, ...]) -> dict[str, Any]:
    """Make the corpus, extract it with each number of workers, and check it; the tables must be the same."""
    corpus = write_corpus(folder / "mutants", mutants, seed)
    found: dict[str, Any] = {}
    for number in workers:
        ended = extracted(corpus, folder / f"table-{number}", number)
        counts = account_for(corpus, folder / f"table-{number}")
        assert counts == {name: found.get(name, count) for name, count in counts.items()}
        assert Stages().same_table(folder / f"table-{number}", folder / f"table-{workers[0]}")
        found |= counts
        found[f"workers_{number}"] = {
            "seconds": round(ended.seconds, 1),
            "exit_status": ended.status,
            "peak_gb": round(ended.peak / 1e9, 3),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--keep", type=Path, help="a folder in which the mutants and the tables stay")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = fuzz(asked.keep or Path(folder), asked.mutants, asked.seed, tuple(asked.workers))
    print(json.dumps(figures, indent=1))
    split = "mutated images and archives; extractor lite at 64 px"
    write_record(asked.json, {"extract.fuzzed": (figures["mutants"], "mutants, rows + errors = inputs", split)})


if __name__ == "__main__":
    main()
