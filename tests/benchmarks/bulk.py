"""Bulk captioning beside the bare loop of the same model, and its memory over few and over many photographs.

python -m tests.benchmarks.bulk --images DIR [--model DIR] --json FILE

In turns: the bare loop, a process of its own (decoding, extractor and describer in the job's batches, two at once, a
thread each), and `python -m jobs.caption_images` with two actors. Compared are images a second at work: of the loop
after its model is loaded, of the job from its second commit to its last. The job's memory is that of all its processes,
shared pages counted once, above what Ray alone takes before its actors start.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.benchmarks.memory import copied
from tests.benchmarks.record import photographs, write_record
from tests.jobs.clusters import family_of
from vsalign.storage import TableReader

BATCH, ACTORS, SHARD = 16, 2, 128
SECONDS_BETWEEN_LOOKS = 2.0
"""Looking at gigabytes of pages costs the job a tenth of a core twice a second."""
AN_ACTOR = re.compile(r"ray::\S*(MapWorker|MapBatches)")


def bare(folder: Path, model: str) -> float:
    """Images a second of the loop, run by `main` in a process of its own."""
    import torch

    from vsalign.allocator import keep_freed_memory
    from vsalign.generation.describe import Describer, in_float16
    from vsalign.images import DecodeOptions, decode_sized
    from vsalign.photograph import load
    from vsalign.regions import Prepared
    from vsalign.regions.extract import Extracted

    keep_freed_memory()
    loaded = load(model)
    extractor, describer = loaded.extractor, Describer(loaded.describer.whole, loaded.describer.regions)
    smaller = DecodeOptions(least_side=extractor.least_side)
    paths = sorted(folder.iterdir())

    def decoded(path: Path) -> Prepared:
        return extractor.prepare(path.name, *decode_sized(path.read_bytes(), path.name, smaller))

    def described(batch: list[Path]) -> int:
        prepared = [decoded(path) for path in batch]
        regions = extractor.extract(prepared)
        some = zip(prepared, regions, strict=True)
        images = [Extracted(each.image_id, "", each.width, each.height, found) for each, found in some]
        return len(describer.describe([in_float16(image) for image in images]))

    batches = [paths[at : at + BATCH] for at in range(0, len(paths), BATCH)]
    with ThreadPoolExecutor(ACTORS, "network", torch.set_num_threads, (1,)) as networks:
        list(networks.map(described, batches[:ACTORS]))
        began = time.perf_counter()
        done = sum(networks.map(described, batches))
    return done / (time.perf_counter() - began)


def job(folder: Path, output: Path, model: str) -> tuple[float, float, float]:
    """Images a second of the job at work, and its peak and idle memory, MB."""
    words = ["--images", str(folder), "--output", str(output), "--shard-size", str(SHARD), "--batch-size", str(BATCH)]
    words += ["--actors", str(ACTORS), "--num-cpus", str(ACTORS), *(["--model", model] if model else [])]
    process = subprocess.Popen([sys.executable, "-m", "jobs.caption_images", *words], stdout=subprocess.DEVNULL)
    peak = idle = 0.0
    while process.poll() is None:
        family = family_of(process.pid)
        held = sum(map(megabytes, [process.pid, *family]))
        peak = max(peak, held)
        if not any(map(AN_ACTOR.search, family.values())) and not output.joinpath("part-00000.g0.parquet").exists():
            idle = max(idle, held)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    assert process.returncode == 0
    rows = TableReader(str(output), "descriptions").rows
    commits = sorted(path.stat().st_mtime for path in output.glob("part-*.parquet"))
    return (rows - ACTORS * SHARD) / (commits[-1] - commits[ACTORS - 1]), peak, idle


def megabytes(process: int) -> float:
    """What a process holds, its share of shared pages; 0 where it has ended."""
    with contextlib.suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
        return int(found[1]) / 1000 if found else 0.0
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, type=Path, help="folder of photographs (*.jpg)")
    parser.add_argument("--model", default="", help="folder of a describer; left out: the packaged ones")
    parser.add_argument("--count", type=int, default=1024, help="photographs of a round")
    parser.add_argument("--many", type=int, default=7000, help="photographs for the memory's growth; 0: not measured")
    parser.add_argument("--rounds", type=int, default=3, help="0: no bare loop, the memory's growth alone")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    if asked.bare:
        print(bare(asked.bare, asked.model))
        return
    found = sorted(asked.images.glob("*.jpg"))
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        folder = copied(found[: asked.count], scratch / "few")
        over, above = [], []
        if not asked.rounds:
            _, peak, idle = job(folder, scratch / "table-few", asked.model)
            above.append(peak - idle)
            print(f"{asked.count} photographs: {peak:.0f} MB, {idle:.0f} idle", flush=True)
        for number in range(asked.rounds):
            alone = [sys.executable, "-m", "tests.benchmarks.bulk", "--images", str(folder), "--bare", str(folder)]
            loop = float(subprocess.check_output([*alone, "--model", asked.model], text=True).split()[-1])
            rate, peak, idle = job(folder, scratch / f"table-{number}", asked.model)
            over.append(rate / loop)
            above.append(peak - idle)
            print(f"loop {loop:.2f}, job {rate:.2f} images/s; {peak:.0f} MB, {idle:.0f} idle", flush=True)
        some = photographs(asked.count, asked.images)
        figures = {}
        if over:
            figures["bulk.over_bare"] = (statistics.median(over), f"ratio (median of {asked.rounds} rounds)", some)
        if asked.many:
            everything = copied(found[: asked.many], scratch / "many")
            rate, peak, idle = job(everything, scratch / "table-many", asked.model)
            print(f"{asked.many} photographs: {rate:.2f} images/s; {peak:.0f} MB, {idle:.0f} idle", flush=True)
            growth = (peak - idle) / statistics.median(above)
            shape = f"{len(list(everything.iterdir())):,} beside {asked.count:,} photographs"
            figures["bulk.memory_growth"] = (growth, "ratio of peak memory above idle", shape)
            size = sum(path.stat().st_size for path in (scratch / "table-many").glob("part-*.parquet"))
            figures["bulk.bytes_a_photograph"] = (size / asked.many, "bytes of the descriptions table", shape)
            figures["bulk.images_per_s"] = (rate, "images/s", photographs(asked.many, asked.images))
    write_record(asked.json, figures)


if __name__ == "__main__":
    main()
