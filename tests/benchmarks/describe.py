"""Descriptions of the split dev by a describer: trained on `train`, its epoch chosen on `tune`, dev scored once a seed.

python -m tests.benchmarks.describe --regions TABLE --captions TABLE --recipe attention --paid --json FILE

Each seed is a run of `python -m jobs.train_mrnn`, with --paid a second one by CIDEr-D that starts from it; then `python
-m jobs.caption_images` and `vsalign evaluate descriptions` (PTB tokens, METEOR through Java), as a person would type
them. Started again with the same --work, what is done stays.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tests.benchmarks.alignment import run
from tests.benchmarks.record import Measured, write_record

METRICS = {f"BLEU-{n}": f"bleu{n}" for n in range(1, 5)} | {
    "METEOR": "meteor",
    "ROUGE-L": "rouge_l",
    "CIDEr-D": "cider",
}
"""The evaluation's figures, all x 100, and their names in the record."""


def measured(asked: argparse.Namespace, seed: int) -> dict[str, float]:
    """The figures of one seed's model on dev."""
    work = Path(asked.work) / f"{asked.name}-{seed}"
    tables = ["--regions", asked.regions, "--captions", asked.captions]
    model = str(work / "model")
    own = ["--recipe", asked.recipe, "--seed", str(seed), *asked.options]
    run("jobs.train_mrnn", *tables, "--output", model, *own)
    if asked.paid:
        first, model = model, str(work / "paid")
        run("jobs.train_mrnn", *tables, "--output", model, "--recipe", "cider", "--start", first, "--seed", str(seed))
    said = str(work / "descriptions")
    decode = ["--decode.beam", str(asked.beam), "--decode.length-norm", str(asked.length_norm), "--max-regions", "0"]
    run("jobs.caption_images", "--regions", asked.regions, "--model", model, "--output", said, *decode)
    file = work / "descriptions.json"
    if not file.exists():
        run("vsalign.cli", "evaluate", "descriptions", *tables[2:], "--descriptions", said, "--json", str(file))
    found: dict[str, float] = json.loads(file.read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", required=True, help="regions table of Flickr8k's photographs")
    parser.add_argument("--captions", required=True, help="their captions table, with the splits train, tune, dev")
    parser.add_argument("--recipe", default="attention", choices=["attention", "mrnn"])
    parser.add_argument("--paid", action="store_true", help="train a second time, by CIDEr-D")
    parser.add_argument("--name", default="", help="of the figures: describe.NAME.…; left out: the recipe")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--length-norm", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", default="runs/describe", help="folder of the models")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked, options = parser.parse_known_args()
    asked.options, asked.name = options, asked.name or asked.recipe
    seeds = [measured(asked, seed) for seed in range(asked.seeds)]
    dev = f"Flickr8k dev ({Path(asked.regions).name} regions), beam {asked.beam}, length norm {asked.length_norm:g}"
    figures: dict[str, Measured] = {
        f"describe.{asked.name}.{key}": ([seed[name] for seed in seeds], "x 100", dev) for name, key in METRICS.items()
    }
    write_record(asked.json, figures)


if __name__ == "__main__":
    main()
