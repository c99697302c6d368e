"""The whole of extract_regions beside the bare model on the same photographs: images a second, and their ratio.

python -m tests.benchmarks.throughput --images DIR --json FILE

In each of some rounds, in turns and in this one process: the bare loop (decoded and resized pictures go through the
extractor in the same batches), then the pipeline from the listing to the committed Parquet. Then the pipeline over 200
JPEGs of 12 megapixels beside decoding plus model time; and, as commands of their own over more photographs, the
pipeline in one process with two threads and with two worker processes of one thread, with and without the start.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image

import pipelines  # noqa: F401  (it sets the allocator, for the bare loop too)
from pipelines.extract_regions import extract_regions, load_extractor
from tests.benchmarks.memory import copied
from tests.benchmarks.record import Measured, photographs, write_record
from vsalign.images import DecodeOptions, decode_sized
from vsalign.regions import ExtractorConfig, Prepared
from vsalign.storage import TableReader

BATCH, THREADS, DECODE_THREADS = 16, 2, 2
A_TURN = 256
"""Pictures decoded before the model goes over them: as many as a shard has."""
LARGE, LARGE_SIZE = 200, (4000, 3000)


def bare(paths: Sequence[Path], name: str) -> tuple[float, float]:
    """Seconds of decoding and resizing all pictures (DECODE_THREADS at a time), and of the model over them.

    The model has THREADS batches at once, a thread each, as in the pipeline; decoding and model take turns.
    """
    extractor = load_extractor(ExtractorConfig(name=name))
    smaller = DecodeOptions(least_side=extractor.least_side)
    decoding = model = 0.0

    def decoded(path: Path) -> Prepared:
        return extractor.prepare(path.name, *decode_sized(path.read_bytes(), path.name, smaller))

    with (
        ThreadPoolExecutor(DECODE_THREADS) as decoders,
        ThreadPoolExecutor(THREADS, "network", torch.set_num_threads, (1,)) as networks,
    ):
        for start in range(0, len(paths), A_TURN):
            began = time.perf_counter()
            pictures = list(decoders.map(decoded, paths[start : start + A_TURN]))
            between = time.perf_counter()
            batches = [pictures[at : at + BATCH] for at in range(0, len(pictures), BATCH)]
            list(networks.map(extractor.extract, batches))
            decoding, model = decoding + between - began, model + time.perf_counter() - between
    return decoding, model


def pipeline(folder: Path, output: Path, name: str) -> float:
    """Seconds of the whole stage in this process, from the listing to the manifest."""
    began = time.perf_counter()
    status = extract_regions(options(folder, output, name, THREADS))
    seconds = time.perf_counter() - began
    assert status == 0 and TableReader(str(output), "regions").rows == len(list(folder.iterdir()))
    return seconds


def command(folder: Path, output: Path, name: str, workers: int) -> tuple[float, float]:
    """Images a second of the whole command, as a person types it, and of the same once its processes are at work.

    The latter goes from the commit of the first shard, or of the second of two workers, to that of the last.
    """
    more = ["--workers", str(workers)]
    argv = options(folder, output, name, THREADS if workers == 0 else THREADS // workers)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipelines.extract_regions", *argv, *more], check=True, capture_output=True)
    seconds = time.perf_counter() - began
    table = TableReader(str(output), "regions")
    assert table.rows == len(list(folder.iterdir()))
    commits = sorted(path.stat().st_mtime for path in output.glob("part-*.parquet"))
    first = max(1, workers)
    at_work = (table.rows - first * A_TURN) / (commits[-1] - commits[first - 1])
    return table.rows / seconds, at_work


def options(folder: Path, output: Path, name: str, threads: int) -> list[str]:
    """The stage's command line."""
    sizes = ["--threads", str(threads), "--batch-size", str(BATCH)]
    return ["--images", str(folder), "--output", str(output), "--extractor.name", name, *sizes]


def large(paths: Sequence[Path], folder: Path) -> Path:
    """LARGE photographs as JPEGs of 12 megapixels."""
    folder.mkdir()
    for path in paths[:LARGE]:
        sink = io.BytesIO()
        Image.open(path).convert("RGB").resize(LARGE_SIZE, Image.Resampling.BICUBIC).save(sink, "JPEG", quality=90)
        (folder / path.name).write_bytes(sink.getvalue())
    return folder


def compare(images: Path, scratch: Path, count: int, rounds: int, name: str, many: int) -> dict[str, Measured]:
    """All figures, of the record's form; they are medians over the rounds."""
    paths = sorted(images.glob("*.jpg"))[:count]
    folder = copied(paths, scratch / "images")
    bare(paths[:BATCH], name)  # loads and warms
    over, rates = [], []
    for number in range(rounds):
        _, model = bare(paths, name)
        here = pipeline(folder, scratch / f"here-{number}", name)
        over.append(model / here)
        rates.append(count / model)
        print(f"bare {count / model:.1f}, pipeline {count / here:.1f} images/s")
    twelve = large(paths, scratch / "large")
    of_large = []
    for number in range(rounds):
        decoding, model = bare(sorted(twelve.iterdir()), name)
        whole = pipeline(twelve, scratch / f"large-{number}", name)
        of_large.append((decoding + model) / whole)
        print(f"12 megapixels: decoding {decoding:.1f} s + model {model:.1f} s, pipeline {whole:.1f} s")
    everything = copied(sorted(images.glob("*.jpg"))[:many], scratch / "many")
    one, two = (command(everything, scratch / f"workers-{workers}", name, workers) for workers in (0, 2))
    for number, (whole, at_work) in enumerate((one, two), 1):
        print(f"{number} process(es): {whole:.1f} images/s, {at_work:.1f} without the start")
    ratio, some = f"ratio (median of {rounds} rounds)", photographs(count, images)
    of_twelve, of_many = f"{LARGE} JPEGs of 12 megapixels, {name}", f"{photographs(many, images)}, {name}"
    return {
        "extract.over_bare": (statistics.median(over), ratio, f"{some}, {name}"),
        "extract.bare_images_per_s": (statistics.median(rates), "images/s", f"{some}, {name}"),
        "extract.large_over_decode_and_model": (statistics.median(of_large), ratio, of_twelve),
        "extract.two_workers_over_one_process": (two[1] / one[1], "ratio, without the start", of_many),
        "extract.two_workers_over_one_process_with_start": (two[0] / one[0], "ratio", of_many),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="a folder of photographs (*.jpg)")
    parser.add_argument("--count", type=int, default=2000, help="photographs")
    parser.add_argument("--many", type=int, default=20 * A_TURN, help="photographs for the worker processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--extractor", default="rcnn-lite", help="its name")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = compare(asked.images, Path(scratch), asked.count, asked.rounds, asked.extractor, asked.many)
    write_record(asked.json, figures)


if __name__ == "__main__":
    main()
