"""The whole of extract_regions beside the bare model on the same photographs: images a second, and their ratio.

python -m tests.benchmarks.throughput --images DIR --json FILE

In each of some rounds, in turns and in this one process: the bare loop (decoded and resized pictures go through the
extractor in the same batches), then the pipeline from the listing to the committed Parquet. Then the pipeline with two
worker processes, one thread each, and the pipeline over 200 JPEGs of 12 megapixels beside decoding plus model time.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
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
from vsalign.images import DecodeOptions, decode_sized
from vsalign.regions import ExtractorConfig
from vsalign.storage import TableReader

BATCH, THREADS, DECODE_THREADS = 16, 2, 2
LARGE, LARGE_SIZE = 200, (4000, 3000)


def bare(paths: Sequence[Path], name: str) -> tuple[float, float]:
    """Seconds of decoding and resizing all pictures (DECODE_THREADS at a time), and of the model over them."""
    extractor = load_extractor(ExtractorConfig(name=name))
    options = DecodeOptions(least_side=extractor.least_side)
    torch.set_num_threads(THREADS)
    decoding = model = 0.0
    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        for start in range(0, len(paths), BATCH):
            data = [(path.name, path.read_bytes()) for path in paths[start : start + BATCH]]
            began = time.perf_counter()
            batch = list(
                pool.map(lambda each: extractor.prepare(each[0], *decode_sized(each[1], each[0], options)), data)
            )
            decoded = time.perf_counter()
            extractor.extract(batch)
            decoding, model = decoding + decoded - began, model + time.perf_counter() - decoded
    return decoding, model


def pipeline(folder: Path, output: Path, name: str, *more: str) -> float:
    """Seconds of the whole stage, its start included."""
    threads = ("--threads", "1" if "--workers" in more else str(THREADS), "--batch-size", str(BATCH))
    began = time.perf_counter()
    status = extract_regions(
        ["--images", str(folder), "--output", str(output), "--extractor.name", name, *threads, *more]
    )
    seconds = time.perf_counter() - began
    assert status == 0 and TableReader(str(output), "regions").rows == len(list(folder.iterdir()))
    return seconds


def large(paths: Sequence[Path], folder: Path) -> Path:
    """LARGE photographs as JPEGs of 12 megapixels."""
    folder.mkdir()
    for path in paths[:LARGE]:
        sink = io.BytesIO()
        Image.open(path).convert("RGB").resize(LARGE_SIZE, Image.Resampling.BICUBIC).save(sink, "JPEG", quality=90)
        (folder / path.name).write_bytes(sink.getvalue())
    return folder


def compare(images: Path, scratch: Path, count: int, rounds: int, name: str) -> dict[str, float | list[float]]:
    """All figures; the ratios are medians over the rounds."""
    paths = sorted(images.glob("*.jpg"))[:count]
    folder = copied(paths, scratch / "images")
    bare(paths[:BATCH], name)  # loads and warms
    over, two, rates = [], [], []
    for number in range(rounds):
        _, model = bare(paths, name)
        here = pipeline(folder, scratch / f"here-{number}", name)
        spread = pipeline(folder, scratch / f"two-{number}", name, "--workers", "2")
        over.append(model / here)
        two.append(here / spread)
        rates.append(count / model)
        print(f"bare {count / model:.1f}, pipeline {count / here:.1f}, two workers {count / spread:.1f} images/s")
    twelve = large(paths, scratch / "large")
    of_large = []
    for number in range(rounds):
        decoding, model = bare(sorted(twelve.iterdir()), name)
        whole = pipeline(twelve, scratch / f"large-{number}", name)
        of_large.append((decoding + model) / whole)
        print(f"12 megapixels: decoding {decoding:.1f} s + model {model:.1f} s, pipeline {whole:.1f} s")
    return {
        "over_bare": statistics.median(over),
        "over_bare_rounds": over,
        "two_workers_over_one_process": statistics.median(two),
        "two_workers_rounds": two,
        "large_over_decode_and_model": statistics.median(of_large),
        "large_rounds": of_large,
        "bare_images_per_s": statistics.median(rates),
        "images": count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="a folder of photographs (*.jpg)")
    parser.add_argument("--count", type=int, default=2000, help="photographs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--extractor", default="rcnn-lite", help="its name")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = compare(asked.images, Path(scratch), asked.count, asked.rounds, asked.extractor)
    print(json.dumps(figures, indent=1), file=sys.stderr)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
