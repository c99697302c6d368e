"""Extraction killed (SIGKILL) at random moments and started again, and two runs at once: the table is the same.

python -m tests.benchmarks.kills --images DIR --runs 30 --json FILE
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.benchmarks.record import write_record
from tests.pipelines.stages import Stages
from vsalign.storage import Folder, TableReader
from vsalign.storage.layout import MANIFEST, PLAN, RUN

MODULE = "pipelines.extract_regions"
STOPPED = 4
"""Exit status of a run whose worker died."""
MOST_STARTS = 25
LONGEST_RUN = 300
"""Seconds; an undisturbed one takes ten."""
LATEST_KILL = 8.0
"""Seconds after its start at which a run is killed at the latest, where the kill goes by the clock."""
stages = Stages()


def spoiled_copy(images: Path, folder: Path, count: int = 400) -> Path:
    """The first `count` pictures of `images`; every twentieth is cut, empty, or a web page."""
    folder.mkdir(parents=True)
    found = sorted(images.glob("*.jpg"))[:count]
    if len(found) < count:
        raise SystemExit(f"{images} holds {len(found)} pictures (*.jpg), {count} are needed: name another --images")
    for number, path in enumerate(found):
        shutil.copyfile(path, folder / path.name)
        if number % 20 == 7:
            whole = path.read_bytes()
            spoiled = (whole[: len(whole) // 2], b"", b"<!DOCTYPE html><html>404</html>")[number // 20 % 3]
            (folder / path.name).write_bytes(spoiled)
    return folder


def until_it_ends(command: list[str], output: Path, chance: random.Random, workers: str, log: Path) -> Counter[str]:
    """Start the command again and again until it ends with 0; two to five times it is killed. Returns the kills."""
    kills = Counter[str]()
    planned = chance.randint(2, 5)
    for _ in range(MOST_STARTS):
        with log.open("a") as said:
            process = stages.start(MODULE, *command, log=said)
        if kills.total() < planned:
            kills.update(disturbed(process, output, chance, workers))
        status = process.wait(LONGEST_RUN)
        if status == 0:
            return kills
        if status not in (-signal.SIGKILL, STOPPED):
            raise AssertionError(f"exit status {status}: {log.read_text()[-2000:]}")
    raise AssertionError(f"not finished after {MOST_STARTS} starts: {log.read_text()[-2000:]}")


def disturbed(process: subprocess.Popen[str], output: Path, chance: random.Random, workers: str) -> list[str]:
    """Wait for a random moment of a run, then kill its driver or one of its workers; what was killed."""
    kill_worker = workers != "0" and chance.random() < 0.6
    while kill_worker and process.poll() is None and not stages.workers_of(process.pid):
        time.sleep(0.01)
    wait_for_moment(process, output, chance)
    if process.poll() is not None:
        return []
    if not kill_worker:
        process.kill()
        return ["driver_kills"]
    try:
        os.kill(chance.choice(stages.workers_of(process.pid)), signal.SIGKILL)
    except (ProcessLookupError, IndexError):  # the run has just ended
        return []
    return ["worker_kills"]


def wait_for_moment(process: subprocess.Popen[str], output: Path, chance: random.Random) -> None:
    """Any moment of a run: by the clock (its start, the plan), after a few more commits, or at its very end."""
    kind = chance.random()
    until = time.monotonic() + (chance.uniform(0, LATEST_KILL) if kind < 0.25 else LONGEST_RUN)
    planned = len(stages.parts(output)) + chance.randint(1, 5)
    while process.poll() is None and time.monotonic() < until:
        done = len(stages.parts(output))
        if done >= (planned if kind < 0.85 else shards_of(output)):
            break
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.05))


def shards_of(output: Path) -> float:
    """How many shards the plan has; infinitely many before there is one."""
    try:
        return float(json.loads((output / PLAN).read_bytes())["shards"])
    except FileNotFoundError:
        return float("inf")


def together(command: list[str], chance: random.Random, log: Path) -> list[int]:
    """Two runs of one command, the second up to a second later; their exit statuses."""
    with log.open("a") as said:
        first = stages.start(MODULE, *command, log=said)
        time.sleep(chance.uniform(0, 1))
        second = stages.start(MODULE, *command, log=said)
    return [first.wait(LONGEST_RUN), second.wait(LONGEST_RUN)]


def differences(output: Path, whole: Path) -> Counter[str]:
    """What a table has too little or too much beside the undisturbed one; empty where they are equal."""
    ours, theirs = (TableReader(str(url), "regions") for url in (output, whole))
    rows, expected = (
        [*map(_input, (*table.read(["uri"]).to_pylist(), *table.errors().to_pylist()))] for table in (ours, theirs)
    )
    names = {RUN, PLAN, MANIFEST, *(name for name, _ in json.loads((output / PLAN).read_bytes())["files"])}
    named = {name for part in ours.shards for name in (part["file"], part["errors_file"]) if name}
    facts = ("inputs", "rows", "errors", "archive_errors", "counts", "shards")
    found = {
        "rows_lost": len({*expected} - {*rows}),
        "rows_double": len(rows) - len({*rows}),
        "rows_differ": not stages.same_table(output, whole),
        "counts_differ": any(ours.manifest[fact] != theirs.manifest[fact] for fact in facts),
        "files_left_behind": len({*Folder(str(output)).names()} - names - named),
    }
    return Counter({name: int(number) for name, number in found.items() if number})


def _input(row: dict[str, str]) -> str:
    return row["uri"]


def campaign(
    pictures: Path, folder: Path, runs: int, pairs: int, seed: int = 0, shard_size: int = 20
) -> dict[str, int | float]:
    """Make the undisturbed table, `runs` disturbed ones (without workers and with two, in turn) and `pairs` at once."""
    started = time.monotonic()
    size = ("--shard-size", str(shard_size), "--batch-size", "4")
    whole = folder / "whole"
    ended = stages.run(MODULE, *stages.small(pictures, whole, *size))
    if ended.returncode:
        raise AssertionError(f"the undisturbed run ended with {ended.returncode}: {ended.stderr}")
    wrong, kills, refused = Counter[str](), Counter[str](), 0
    equal = {"tables_equal": 0, "concurrent_pairs_equal": 0}
    for number in range(runs + pairs):
        output, log = folder / f"run-{number}", folder / f"run-{number}.log"
        workers = "20"[number % 2]
        command = stages.small(pictures, output, *size, "--workers", workers)
        chance = random.Random(1000 * seed + number)
        if number < runs:
            kills += until_it_ends(command, output, chance, workers, log)
        else:
            statuses = together(command, chance, log)
            if 0 not in statuses or not {*statuses} <= {0, 2, STOPPED}:
                raise AssertionError(f"two runs at once ended with {statuses}: {log.read_text()[-2000:]}")
            refused += sum(status != 0 for status in statuses)
        found = differences(output, whole)
        wrong += found
        equal["tables_equal" if number < runs else "concurrent_pairs_equal"] += not found
        print(f"{number + 1} of {runs + pairs}: {dict(kills)} so far, {dict(found) or 'equal'}", file=sys.stderr)
    return {
        "runs": runs,
        "images": int(TableReader(str(whole), "regions").manifest["inputs"]),
        "shards": len(TableReader(str(whole), "regions").shards),
        "kills": kills.total(),
        **{name: kills[name] for name in ("driver_kills", "worker_kills")},
        **equal,
        **{name: wrong[name] for name in ("rows_lost", "rows_double", "counts_differ", "files_left_behind")},
        "concurrent_pairs": pairs,
        "concurrent_runs_refused": refused,
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="a folder of at least 400 photographs (*.jpg)")
    parser.add_argument("--runs", type=int, default=30, help="disturbed runs")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of runs into one folder at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pictures = spoiled_copy(asked.images, Path(folder) / "pictures")
        figures = campaign(pictures, Path(folder), asked.runs, asked.pairs, asked.seed)
    print(json.dumps(figures, indent=1))
    lost = sum(figures[name] for name in ("rows_lost", "rows_double", "counts_differ", "files_left_behind"))
    unit = f"kills in {asked.runs} runs, {lost:g} rows, counts or files lost or double"
    split = f"{figures['images']:,} images in {figures['shards']} shards; extractor lite at 64 px"
    write_record(asked.json, {"extract.kills": (figures["kills"], unit, split)})


if __name__ == "__main__":
    main()
