"""Decoding many images at once beside one at a time, beside its bare matrix products, and beside extraction.

python -m tests.benchmarks.decode --regions TABLE --model DESCRIBER [--images DIR] --json FILE

All in one process: a beam of 5 over the images of a table in batches, then some of them one by one (the same
sentences), then the matrix products of a batch again, and nothing else. With --images the model's extractor over some
of them.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from tests.benchmarks.record import Measured, write_record
from vsalign.allocator import keep_freed_memory
from vsalign.checkpoint import load_model
from vsalign.generation import DecodeOptions
from vsalign.generation.describe import regions_of_shard, sentences_of
from vsalign.photograph import Photographs
from vsalign.storage import TableReader

PRODUCTS: dict[str, Callable[..., Any]] = {"aten::mm": torch.mm, "aten::addmm": torch.addmm, "aten::bmm": torch.bmm}


def products_of(work: Callable[[], Any]) -> Callable[[], None]:
    """The matrix products that `work` asks for, on random numbers of the same shapes, and nothing else."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        work()
    shapes = [(event.name, event.input_shapes) for event in found.events() if event.name in PRODUCTS]
    made = {(name, str(sizes)): [torch.randn(each) for each in sizes if each] for name, sizes in shapes}
    calls = [(PRODUCTS[name], made[name, str(sizes)]) for name, sizes in shapes]

    @torch.inference_mode()
    def products() -> None:
        for product, operands in calls:
            product(*operands)

    return products


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def decoding(regions: str, model: str, images: int, alone: int, beam: int, rounds: int) -> dict[str, Measured]:
    """Batched, alone, and bare products, in turns."""
    describer, table = load_model(model, "describer"), TableReader(regions, "regions")
    found = itertools.chain.from_iterable(regions_of_shard(table, shard) for shard in range(len(table.shards)))
    features = [np.array(each.regions.features) for each in itertools.islice(found, images)]
    whole = [[0]] * len(features)
    options = DecodeOptions(beam=beam)

    def said(some: slice) -> list[str]:
        rows = sentences_of(describer.model, describer.vocabulary, features[some], whole[some], options)
        return [sentence.caption for (sentence,) in rows]

    together = said(slice(None))
    one_by_one = [said(slice(n, n + 1))[0] for n in range(alone)]
    equal = sum(one == other for one, other in zip(one_by_one, together[:alone], strict=True)) / alone
    products = products_of(lambda: said(slice(0, 256)))
    speed, over = [], []
    for _ in range(rounds):
        batched = seconds(lambda: said(slice(None))) / len(features)
        single = seconds(lambda: [said(slice(n, n + 1)) for n in range(alone)]) / alone
        speed.append(single / batched)
        over.append(seconds(products) / seconds(lambda: said(slice(0, 256))))
    shape = f"{len(features)} images, beam {beam}"
    return {
        "decode.batch_speedup": (statistics.median(speed), f"times one at a time (median of {rounds} rounds)", shape),
        "decode.rate_of_products": (
            statistics.median(over),
            f"ratio (median of {rounds} rounds)",
            f"256 images, beam {beam}",
        ),
        "decode.same_captions": (equal, "share", f"{alone} images, beam {beam}"),
        "decode.captions_per_s": (1 / batched, "captions/s", shape),
    }


def extraction(model: str, images: str, count: int) -> float:
    """Seconds an image of the model's extractor, in batches."""
    describer = load_model(model, "describer")
    extractor = Photographs(describer, describer).extractor
    files = sorted(Path(images).iterdir())[: count + 16]
    from vsalign.images import DecodeOptions as Decoding
    from vsalign.images import decode_sized

    def batch(some: list[Path]) -> None:
        read = [(path.name, *decode_sized(path.read_bytes(), path.name, Decoding(least_side=extractor.least_side)))
                for path in some]  # fmt: skip
        extractor.extract([extractor.prepare(*each) for each in read])

    batch(files[count:])
    return seconds(lambda: [batch(files[n : n + 16]) for n in range(0, count, 16)]) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", required=True, help="a regions table of the model's extractor")
    parser.add_argument("--model", required=True, help="a describer's folder")
    parser.add_argument("--images", default="", help="folder of photographs; left out: extraction is not measured")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--alone", type=int, default=100)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    keep_freed_memory()
    figures = decoding(asked.regions, asked.model, asked.count, asked.alone, asked.beam, asked.rounds)
    if asked.images:
        rate = figures["decode.captions_per_s"][0]
        share = 100 / (float(rate) * extraction(asked.model, asked.images, 96))  # type: ignore[arg-type]
        figures["decode.share_of_extraction"] = (share, "per cent of an image's extraction", f"beam {asked.beam}")
    write_record(asked.json, figures)


if __name__ == "__main__":
    main()
