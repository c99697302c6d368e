"""Bulk captioning killed (SIGKILL) at random moments, its driver, an actor or the raylet, and started again.

python -m tests.benchmarks.bulk_kills --images DIR --model DIR --runs 50 --json FILE

400 photographs, twenty of them spoiled, in 20 shards. After each run the table is the undisturbed one's: the same rows
in the same order, the same errors, no file left behind; and what was committed before a kill was not made again, so
that a kill costs at most the shard that each actor had under way.
"""

from __future__ import annotations

import argparse
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

from tests.benchmarks.kills import LONGEST_RUN, spoiled_copy
from tests.benchmarks.record import write_record
from tests.jobs.clusters import family_of
from vsalign.storage import TableReader

MODULE = "jobs.caption_images"
STOPPED = (4, 1, -signal.SIGKILL)
"""Exit status of a run that lost an actor or the raylet for good, whose process Ray itself ended for that, or was
killed."""
MOST_STARTS = 25
NAMES = {"actors": "ray::", "raylets": "raylet/raylet"}
"""What is in the command lines of the processes that are killed."""


def start(images: Path, output: Path, model: str, log: Path, actors: int) -> subprocess.Popen[bytes]:
    words = ["--images", str(images), "--model", model, "--output", str(output), "--shard-size", "20"]
    more = ["--batch-size", "4", "--max-regions", "2", "--actors", str(actors), "--num-cpus", str(actors)]
    with log.open("ab") as said:
        command = [sys.executable, "-m", MODULE, *words, *more]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment, stdout=said, stderr=said, start_new_session=True)


def parts(output: Path) -> dict[str, int]:
    """The committed shards, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in output.glob("part-*.parquet")}


def killed(process: subprocess.Popen[bytes], output: Path, chance: random.Random) -> str:
    """Wait for a few more commits, or for a random moment of the start, then kill; what was killed, "" for nothing."""
    kind = chance.choice(["drivers", "actors", "raylets"])
    wanted = len(parts(output)) + chance.randint(0, 6)
    until = time.monotonic() + (chance.uniform(0, 20) if chance.random() < 0.2 else LONGEST_RUN)
    while process.poll() is None and time.monotonic() < until and len(parts(output)) < wanted:
        time.sleep(0.005)
    time.sleep(chance.uniform(0, 0.2))
    if process.poll() is not None:
        return ""
    if kind == "drivers":
        process.kill()
        return kind
    found = [pid for pid, line in family_of(process.pid).items() if NAMES[kind] in line]
    try:
        os.kill(chance.choice(found), signal.SIGKILL)
    except (IndexError, ProcessLookupError):  # not there yet, or not any more
        return ""
    return kind


def until_it_ends(images: Path, output: Path, model: str, log: Path, chance: random.Random) -> Counter[str]:
    """Start the command again and again until it ends with 0; one to four times it is killed. Returns the kills."""
    kills: Counter[str] = Counter()
    planned = chance.randint(1, 4)
    for _ in range(MOST_STARTS):
        process = start(images, output, model, log, chance.choice([1, 2, 2]))
        while kills.total() < planned and process.poll() is None:
            before = parts(output)
            if kind := killed(process, output, chance):
                kills[kind] += 1
                again = {name: moment for name, moment in parts(output).items() if name in before}
                assert again == {name: before[name] for name in again}, "a committed shard was made again"
            if kind in ("drivers", "raylets"):
                break  # an actor's death leaves the run going
        status = process.wait(LONGEST_RUN)
        if status == 0:
            return kills
        assert status in STOPPED, f"exit status {status}: {log.read_text()[-2000:]}"
    raise AssertionError(f"not finished after {MOST_STARTS} starts: {log.read_text()[-2000:]}")


def differences(output: Path, whole: Path) -> list[str]:
    """In what a table differs from the undisturbed one."""
    ours, theirs = (TableReader(str(url), "descriptions") for url in (output, whole))
    ids = ours.read(["image_id"])["image_id"].to_pylist()
    errors = [table.errors().select(["uri", "reason", "message"]) for table in (ours, theirs)]
    files = {path.name for path in output.glob("*.parquet")} | {path.name for path in output.glob("errors/*.parquet")}
    named = {Path(name).name for part in ours.shards for name in (part["file"], part["errors_file"]) if name}
    found = {
        "rows differ": not ours.read().equals(theirs.read()),
        "errors differ": not errors[0].equals(errors[1]),
        "ids twice": len(ids) != len(set(ids)),
        "files left behind": files != named,
        "generations": any(".g0." not in name for name in files),
    }
    return [name for name, wrong in found.items() if wrong]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, type=Path, help="folder of photographs")
    parser.add_argument("--model", required=True, help="folder of a describer")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args()
    kills: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        images = spoiled_copy(asked.images, folder / "images", asked.count)
        whole = folder / "whole"
        assert start(images, whole, asked.model, folder / "whole.log", 2).wait(LONGEST_RUN) == 0
        for number in range(asked.runs):
            output, chance = folder / f"run-{number}", random.Random(asked.seed + number)
            own = until_it_ends(images, output, asked.model, folder / f"{number}.log", chance)
            found = differences(output, whole)
            wrong += found
            kills += own
            print(f"run {number}: {dict(own)}, {found or 'the same table'}", flush=True)
            shutil.rmtree(output)
    shape = f"{asked.runs} runs of {asked.count} photographs, 20 a shard"
    figures = {"bulk.kills": (kills.total(), f"kills ({dict(kills)})", shape)}
    figures["bulk.kills_wrong"] = (len(wrong), "tables that differ", shape)
    write_record(asked.json, figures)
    assert not wrong, wrong


if __name__ == "__main__":
    main()
