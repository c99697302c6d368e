"""`make scenes`: the road on rendered scenes, where the true box of every phrase and the words of every box are known.

The alignment sees whole sentences only; its regions are `given` boxes: the objects' own, jittered ones and background.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.results import Figure, figure
from infra.road.commands import Road
from vsalign.command import exit_status
from vsalign.options import parse

BETA = 1.0
"""Of the segments' MRF: about the spread of a word's scores over regions; a guess."""
WARMUP = 60
"""Steps: few scenes make few steps."""


@dataclass(frozen=True)
class ScenesOptions:
    """How many scenes, and how long they are learned from."""

    output: str = "runs/scenes"
    """Folder of the scenes, tables, models, figures and gallery."""
    count: int = 3000
    """Scenes: 8 of 10 are learned from, 1 chooses settings, 1 is measured."""
    seed: int = 0
    """Of the scenes and of the training."""
    alignment_epochs: int = 8
    """Times that the alignment model sees every pair."""
    mrnn_epochs: int = 8
    """Times that the Multimodal RNN sees every text."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the road; see --help."""
    return exit_status(
        lambda: run(parse(ScenesOptions, argv, prog="python -m infra.road.scenes", description=__doc__ or ""))
    )


def run(options: ScenesOptions) -> int:
    """Scenes -> tables -> models -> figures on their dev split."""
    road = Road(Path(options.output))
    figures = scenes_road(road, options, "make scenes")
    road.finish(f"{options.count} scenes, dev split", figures, road.path("gallery/index.html"))
    return 0


def scenes_road(road: Road, options: ScenesOptions, command: str) -> dict[str, Figure]:
    """Every stage on scenes, and its figures."""
    scenes = road.path("scenes")
    images, boxes = f"{scenes}/images", f"{scenes}/boxes.json"
    regions, captions, segments = road.path("regions"), road.path("captions"), road.path("segments")
    tables = {"regions": regions, "captions": captions}
    models = {name: road.path(name) for name in ("alignment", "mrnn", "mrnn-regions")}
    mrnn: dict[str, str | int] = {**tables, "seed": options.seed, "epochs": options.mrnn_epochs}

    road.run("vsalign.cli", "scenes", output=scenes, count=options.count, seed=options.seed)
    road.run(
        "pipelines.extract_regions", images=images, extractor__name="given", extractor__boxes=boxes, output=regions
    )
    road.run("pipelines.prepare_captions", captions=f"{scenes}/captions.txt", images=images, output=captions)
    schedule: dict[str, int] = {"seed": options.seed, "epochs": options.alignment_epochs, "warmup": WARMUP}
    road.run("jobs.train_alignment", **tables, **schedule, recipe="paper", output=models["alignment"])
    road.run("jobs.align_segments", **tables, model=models["alignment"], beta=BETA, output=segments)
    road.run("jobs.train_mrnn", **mrnn, recipe="mrnn", output=models["mrnn"])
    road.run(
        "jobs.train_mrnn", **mrnn, recipe="mrnn", segments=segments, whole_images=False, output=models["mrnn-regions"]
    )
    described = {"images": _dev_list(scenes, road), "root": images, "extractor__boxes": boxes}
    describers = {"model": models["mrnn"], "region_model": models["mrnn-regions"]}
    descriptions = road.path("descriptions")
    road.run("jobs.caption_images", **described, **describers, output=descriptions)
    road.run(
        "vsalign.cli", "gallery", descriptions=descriptions, **tables, segments=segments, output=road.path("gallery")
    )
    return _figures(road, tables, scenes, f"{options.count} scenes, dev split", command)


def _figures(road: Road, tables: dict[str, str], scenes: str, split: str, command: str) -> dict[str, Figure]:
    model, captions, descriptions = road.path("alignment"), tables["captions"], road.path("descriptions")
    java_free: dict[str, str | bool] = {"tokenizer": "simple", "meteor": False}
    ranking = road.figures("ranking", "ranking", **tables, model=model)
    grounding = road.figures("grounding", "grounding", **tables, model=model, truth=f"{scenes}/phrases.jsonl")
    objects = f"{scenes}/objects.jsonl"
    words = road.figures("region-words", "region-words", descriptions=descriptions, objects=objects)
    captioned = road.figures("descriptions", "descriptions", captions=captions, descriptions=descriptions, **java_free)
    nearest = road.figures("nearest", "descriptions", **tables, **java_free)
    values = {
        "annotation_r1": (ranking["annotation_r1"], "per cent"),
        "search_r1": (ranking["search_r1"], "per cent"),
        "search_r1_chance": (ranking["chance_search_r1"], "per cent"),
        "grounding": (grounding["chosen_iou"], "0 to 1"),
        "grounding_chance": (grounding["chance_iou"], "0 to 1"),
        "region_words": (100 * words["both"], "per cent"),
        "bleu4": (captioned["BLEU-4"], "per cent"),
        "bleu4_nearest_neighbour": (nearest["BLEU-4"], "per cent"),
    }
    return {f"road.scenes.{name}": figure(value, unit, split, command) for name, (value, unit) in values.items()}


def _dev_list(scenes: str, road: Road) -> str:
    names = (Path(scenes) / "Scenes.devImages.txt").read_text().split()
    file = road.output / "dev-images.txt"
    file.write_text("".join(f"{scenes}/images/{name}\n" for name in names))
    return str(file)


if __name__ == "__main__":
    sys.exit(main())
