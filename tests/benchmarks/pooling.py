"""Map pooling, the paper's crops and both: images a second, and how well an alignment trained on each ranks.

python -m tests.benchmarks.pooling --images DIR --captions TABLE --json FILE

The extractor runs over the same photographs with each pooling, on the GPU where there is one, into regions tables;
the alignment model is trained on each by the same settings and seed, and measured on the split `tune`. Neither Beam
nor Ray is needed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.record import Measured, photographs, write_record
from vsalign import tables
from vsalign.allocator import keep_freed_memory
from vsalign.images import IMAGE_PLAN, ImageInput, ReadOptions, list_images, read_images
from vsalign.regions import ExtractorConfig, build_extractor
from vsalign.regions.extract import ExtractOptions, extract_shard
from vsalign.storage import Output, begin
from vsalign.training.alignment import AlignmentData, AlignmentTraining, train_alignment

POOLINGS = ("map", "crop", "both")
MEASURES = {"annotation_r1": "per cent", "search_r1": "per cent", "rsum": "sum of six recalls"}


def extracted(images: str, url: str, config: ExtractorConfig, threads: int) -> float:
    """Write the regions table at `url`, and return images a second."""
    extractor = build_extractor(config)
    output = Output(
        url, "regions", tables.regions_schema(extractor.dim), "pooling", {}, {"extractor": extractor.identity()}
    )
    counts: dict[str, int] = {}
    listing = list_images(ImageInput(images))
    stage = begin(output, lambda: listing.counted(counts), IMAGE_PLAN, counts, overwrite=False)
    options = ExtractOptions(threads=threads, decode_threads=max(2, threads - 2))
    began, rows = time.perf_counter(), 0
    for task in stage.pending():
        writer = output.open_shard(task)
        rows += extract_shard(read_images(output.read_plan(task), ReadOptions()), extractor, options, writer).rows
    seconds = time.perf_counter() - began
    stage.finish()
    return rows / seconds


def trained(regions: str, captions: str, folder: Path, epochs: int, seed: int) -> dict[str, Any]:
    """The figures of the best epoch on `tune`."""
    seen: list[dict[str, Any]] = []

    def report(metrics: dict[str, Any], checkpoint: Path | None) -> None:
        print(metrics, file=sys.stderr, flush=True)
        seen.append(metrics)

    config = AlignmentTraining(epochs=epochs, seed=seed)
    train_alignment(config, AlignmentData(regions, captions), str(folder / "model"), folder / "work", report)
    return max(seen, key=lambda metrics: metrics["rsum"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="a folder of photographs")
    parser.add_argument("--captions", required=True, help="their captions table, with a split tune")
    parser.add_argument("--extractor", default="rcnn-lite", help="its name")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    keep_freed_memory()
    threads = torch.get_num_threads()
    tune: dict[str, list[dict[str, Any]]] = {pooling: [] for pooling in POOLINGS}
    rates = {}
    with tempfile.TemporaryDirectory() as scratch:
        for pooling in POOLINGS:
            url = str(Path(scratch) / pooling)
            config = ExtractorConfig(name=asked.extractor, pooling=pooling)  # type: ignore[arg-type]
            rates[pooling] = extracted(asked.images, url, config, threads)
            print(f"{pooling} {rates[pooling]:.1f} images/s", file=sys.stderr, flush=True)
        for seed in range(asked.seeds):
            for pooling in POOLINGS:
                folder = Path(scratch) / f"{pooling}-{seed}"
                (folder / "work").mkdir(parents=True)
                url = str(Path(scratch) / pooling)
                tune[pooling].append(trained(url, asked.captions, folder, asked.epochs, seed))
    figures: dict[str, Measured] = {}
    some = photographs(len(list(Path(asked.images).iterdir())), Path(asked.images))
    for pooling in POOLINGS:
        key = f"regions.pooling.{pooling}"
        figures[f"{key}.images_per_s"] = (rates[pooling], "images/s", f"{some}, {asked.extractor}")
        for measure, unit in MEASURES.items():
            values = [metrics[measure] for metrics in tune[pooling]]
            figures[f"{key}.tune_{measure}"] = (values, unit, f"tune; trained on the rest of {some}")
    write_record(asked.json, figures)


if __name__ == "__main__":
    main()
