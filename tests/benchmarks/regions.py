"""Descriptions of the boxes that people drew and spoke of: region model, full-image model, nearest neighbour.

python -m tests.benchmarks.regions --images DIR --regions TABLE --captions TABLE --truth ENTITIES --alignment MODEL \
--full-image-model MODEL --json FILE

The paper's comparison (section 4.3) on Flickr30k Entities: phrases of the training captions are inferred by the
alignment model, a describer learns them alone, and it, a describer of whole images and the nearest training region's
phrase describe the true boxes of a split. Every step is a command as a person would type it; started again with the
same --work, what is done stays.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tests.benchmarks.alignment import run
from tests.benchmarks.describe import METRICS
from tests.benchmarks.record import Measured, write_record

RULES = ["--trim", "english", "--min-phrase", "2", "--max-phrase", "6"]
"""Of the recipe: the nearest neighbour copies the same phrases."""


def true_regions(asked: argparse.Namespace, work: Path) -> str:
    """The regions table of the split's true boxes."""
    boxes, listed, table = work / f"{asked.split}.json", work / f"{asked.split}.txt", str(work / f"{asked.split}-boxes")
    split = ["--split", asked.split, "--output", str(boxes)]
    run("vsalign.cli", "boxes", *truth_of(asked), "--regions", asked.regions, *split)
    names = [image["file_name"] for image in json.loads(boxes.read_text())["images"]]
    listed.write_text("".join(f"{Path(asked.images).resolve() / name}\n" for name in names))
    source = ["--images", str(listed), "--root", asked.images, "--extractor.boxes", str(boxes)]
    run("pipelines.extract_regions", *source, "--extractor.pooling", asked.pooling, "--output", table)
    return table


def truth_of(asked: argparse.Namespace) -> list[str]:
    """The options that name the phrases and their boxes."""
    return ["--truth", asked.truth, "--rescale", "--captions", asked.captions]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, help="folder of Flickr8k's photographs")
    parser.add_argument("--regions", required=True, help="regions table of them, of rcnn-lite")
    parser.add_argument("--pooling", default="both", help="of that table")
    parser.add_argument("--captions", required=True, help="their captions table, with the splits train, tune, dev")
    parser.add_argument("--truth", required=True, help="Flickr30k Entities' annotations.zip")
    parser.add_argument("--alignment", required=True, help="the alignment model that infers the phrases")
    parser.add_argument("--beta", default="0.05", help="of the segments: the larger, the longer the phrases")
    parser.add_argument("--full-image-model", required=True, help="a describer that was trained on whole images")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--length-norm", type=float, default=0.5)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--work", default="runs/regions", help="folder of tables and models")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked, options = parser.parse_known_args()
    work = Path(asked.work)
    work.mkdir(parents=True, exist_ok=True)
    tables = ["--regions", asked.regions, "--captions", asked.captions]
    segments, model, boxes = str(work / "segments"), str(work / "model"), true_regions(asked, work)
    run("jobs.align_segments", *tables, "--model", asked.alignment, "--splits", "train", "tune", "--beta", asked.beta,
        "--output", segments)  # fmt: skip
    run("jobs.train_mrnn", *tables, "--recipe", "regions", "--segments", segments, "--output", model, *options)
    measured = ["evaluate", "regions", *truth_of(asked), "--split", asked.split]
    figures: dict[str, Measured] = {}
    for name, described in (("region_model", model), ("full_image_model", asked.full_image_model),
                            ("nearest_neighbour", "")):  # fmt: skip
        source = ["--regions", boxes, "--train-regions", asked.regions, "--segments", segments, *RULES]
        if described:
            said = str(work / f"{asked.split}-{name}")
            decode = ["--region-beam", str(asked.beam), "--decode.length-norm", str(asked.length_norm)]
            run("jobs.caption_images", "--regions", boxes, "--model", described, "--output", said, *decode)
            source = ["--descriptions", said]
        file = work / f"{asked.split}-{name}.json"
        run("vsalign.cli", *measured, *source, "--json", str(file))
        found = json.loads(file.read_text())
        shape = f"Flickr30k Entities, {found['scored']} boxes of Flickr8k {asked.split}"
        for metric, key in {**METRICS, **({"mAP": "map"} if described else {})}.items():
            figures[f"describe.regions.{key}.{name}"] = (found[metric], "x 100", shape)
    write_record(asked.json, figures)


if __name__ == "__main__":
    main()
