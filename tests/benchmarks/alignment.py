"""Ranking and grounding of a recipe on the split dev: trained on `train`, its epoch chosen on `tune`, dev scored once.

python -m tests.benchmarks.alignment --regions TABLE --captions TABLE --truth ENTITIES --json FILE

Each seed is a run of `python -m jobs.train_alignment`, to which further options are passed (--recipe student wants
--teacher MODEL), and its model goes through `vsalign evaluate ranking` and `grounding`, as a person would type them.
Started again with the same --work, what is done stays.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.record import Measured, write_record

RANKING = {f"{side}_r{k}": "per cent" for side in ("annotation", "search") for k in (1, 5, 10)}
RANKING |= {"rsum": "sum of six recalls", "annotation_median_rank": "rank", "search_median_rank": "rank"}
GROUNDING = [f"{line}_{kind}" for line in ("chosen", "control", "best_possible") for kind in ("iou", "pointing")]
"""What is taken over of each command's figures; shares become per cent."""


def run(module: str, *words: str) -> None:
    subprocess.run([sys.executable, "-m", module, *words], check=True)


def measured(asked: argparse.Namespace, seed: int) -> dict[str, float]:
    """The figures of one seed's model on dev."""
    work = Path(asked.work) / f"{asked.name}-{seed}"
    tables = ["--regions", asked.regions, "--captions", asked.captions]
    model = str(work / "model")
    cache = ["--cache", str(Path(asked.work) / "states")] if asked.recipe == "best" else []
    if not Path(model, "config.json").exists():
        run("jobs.train_alignment", *tables, "--output", model, "--recipe", asked.recipe, "--seed", str(seed), *cache,
        *asked.options)  # fmt: skip
    found: dict[str, Any] = {}
    truth = ["--truth", asked.truth, "--rescale", "--box", asked.box]
    for command, more in (("ranking", []), ("grounding", truth)):
        file = work / f"{command}.json"
        if not file.exists():
            run("vsalign.cli", "evaluate", command, *tables, "--model", model, "--json", str(file), *more)
        found |= json.loads(file.read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", required=True, help="regions table of Flickr8k's photographs")
    parser.add_argument("--captions", required=True, help="their captions table, with the splits train, tune, dev")
    parser.add_argument("--truth", required=True, help="Flickr30k Entities' annotations.zip")
    parser.add_argument("--recipe", default="best", choices=["best", "paper", "student"])
    parser.add_argument("--name", default="", help="of the figures: alignment.NAME.…; left out: the recipe")
    parser.add_argument("--grounding-name", default="", help="of the grounding's figures; left out: that of the rest")
    parser.add_argument("--box", default="region", help="of a phrase, as `vsalign evaluate grounding` has it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", default="runs/alignment", help="folder of the models")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked, options = parser.parse_known_args()
    asked.options = options
    asked.name = asked.name or asked.recipe
    seeds = [measured(asked, seed) for seed in range(asked.seeds)]
    dev = f"Flickr8k dev ({Path(asked.regions).name} regions)"
    phrases = f"Flickr30k Entities, phrases of {dev}"
    figures: dict[str, Measured] = {
        f"alignment.{asked.name}.{name}": ([seed[name] for seed in seeds], unit, dev) for name, unit in RANKING.items()
    }
    for name in GROUNDING:
        key = f"alignment.{asked.grounding_name or asked.name}.grounding_{name.removeprefix('chosen_')}"
        figures[key] = ([100 * seed[name] for seed in seeds], "per cent", phrases)
    write_record(asked.json, figures)


if __name__ == "__main__":
    main()
