"""The commands `vsalign evaluate …` that need no alignment model: tables in, figures with their definition out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vsalign.datasets.phrases import TruthOptions, by_image, read_truth
from vsalign.errors import ConfigurationError
from vsalign.options import parse
from vsalign.storage import Folder, TableReader
from vsalign.storage.folder import split_url
from vsalign.training.texts import Caption, captions_of


@dataclass(frozen=True, kw_only=True)
class RecallOptions(TruthOptions):
    """What `vsalign evaluate recall` reads."""

    regions: str
    """Folder or URL of the regions table."""
    captions: str
    """Folder or URL of the captions table, whose sentences hold the phrases."""
    split: str = "dev"
    """The captions that are measured, with their images."""
    json: str = ""
    """File that the figures are also written to."""


def recall(argv: Sequence[str] | None = None) -> int:
    """How many phrases have a region on their true box."""
    from vsalign.evaluation.recall import evaluate_recall

    options = parse(
        RecallOptions, argv, prog="vsalign evaluate recall", description="Phrases that have a region on their true box."
    )
    table = TableReader(options.captions, "captions")
    captions = {caption.caption_id: caption for caption in captions_of(table, options.split)}
    boxes, sizes = boxes_and_sizes(TableReader(options.regions, "regions"))
    result = evaluate_recall(phrases_of(options, captions, sizes), boxes)
    print(result)
    write(
        options.json,
        {
            "recall50": result.total,
            **{f"recall50_{kind}": share for kind, share in sorted(result.by_kind.items())},
            **{f"recall50_first_{count}": share for count, share in result.by_count.items()},
            "phrases": sum(result.phrases.values()),
            "regions": result.regions,
        },
    )
    return 0


@dataclass(frozen=True)
class DescriptionsOptions:
    """What `vsalign evaluate descriptions` reads."""

    captions: str
    """Folder or URL of the captions table: the references."""
    descriptions: str = ""
    """Folder or URL of the descriptions table, or a COCO results JSON ([{"image_id", "caption"}, …]); or give --regions
    for the nearest-neighbour baseline."""
    regions: str = ""
    """Regions table of both splits: measures the caption of the nearest training image instead of a table."""
    split: str = "dev"
    """The images that are measured."""
    train_split: str = "train"
    """The split whose captions the baseline copies."""
    tokenizer: Literal["ptb", "simple"] = "ptb"
    """ptb: the field's, needs Java. simple: this package's own."""
    meteor: bool = True
    """METEOR needs Java."""
    results: str = ""
    """File that the descriptions measured are written to as a COCO results JSON, for other people's tools."""
    references: str = ""
    """File that their references are written to as a COCO captions JSON."""
    json: str = ""
    """File that the figures are also written to."""

    def __post_init__(self) -> None:
        if bool(self.descriptions) == bool(self.regions):
            raise ConfigurationError("give either --descriptions, a table to measure, or --regions, for the baseline")


def descriptions(argv: Sequence[str] | None = None) -> int:
    """BLEU, METEOR, ROUGE-L and CIDEr-D of a descriptions table, or of the nearest-neighbour baseline."""
    from vsalign.evaluation.coco_results import read_results, references_json, results_json
    from vsalign.evaluation.descriptions import METRICS, evaluate_descriptions
    from vsalign.evaluation.java import require_java

    options = parse(
        DescriptionsOptions,
        argv,
        prog="vsalign evaluate descriptions",
        description="Descriptions against the captions of a split.",
    )
    if options.meteor or options.tokenizer == "ptb":
        require_java()
    table = TableReader(options.captions, "captions")
    references: dict[str, list[str]] = {}
    for caption in captions_of(table, options.split):
        references.setdefault(caption.image_id, []).append(caption.text)
    if options.descriptions.endswith(".json"):
        candidates = read_results(options.descriptions, references)
    elif options.descriptions:
        candidates = _described(options.descriptions, references)
    else:
        candidates = _nearest(
            TableReader(options.regions, "regions"), captions_of(table, options.train_split), references
        )
    metrics = [name for name in METRICS if options.meteor or name != "METEOR"]
    write(options.results, results_json(candidates))
    write(options.references, references_json(references))
    result = evaluate_descriptions(candidates, references, metrics=metrics, tokenizer=options.tokenizer)
    print(result)
    write(options.json, {**result.scores, "scored": result.scored})
    return 0


@dataclass(frozen=True)
class RegionWordsOptions:
    """What `vsalign evaluate region-words` reads."""

    descriptions: str
    """Folder or URL of the descriptions table of scenes."""
    objects: str
    """The scenes' objects.jsonl."""
    json: str = ""
    """File that the figures are also written to."""


def region_words(argv: Sequence[str] | None = None) -> int:
    """Whether the descriptions of the scenes' object boxes name their shape and colour."""
    from vsalign.boxes import box_iou
    from vsalign.datasets.scenes import COLOURS, SHAPES, read_objects
    from vsalign.evaluation.regions import shape_colour_accuracy

    options = parse(
        RegionWordsOptions,
        argv,
        prog="vsalign evaluate region-words",
        description="Shape and colour of described object regions.",
    )
    truth = {scene.image_id: scene.objects for scene in read_objects(options.objects)}
    named: list[tuple[str, str, str]] = []
    for batch in TableReader(options.descriptions, "descriptions").batches(["image_id", "regions"]):
        for row in batch.to_pylist():
            if row["image_id"] not in truth:
                raise ConfigurationError(
                    f"{options.objects} has no picture {row['image_id']}: give the objects.jsonl of these scenes"
                )
            objects = truth[row["image_id"]]
            boxes = np.array([region["box"] for region in row["regions"]], dtype=np.float32).reshape(-1, 4)
            true = np.array([thing.box for thing in objects], dtype=np.float32).reshape(-1, 4)
            for thing, ious in zip(objects, box_iou(true, boxes), strict=True):
                described = len(ious) and ious.max() > EXACT  # an object whose box was not described counts as wrong
                caption = row["regions"][int(ious.argmax())]["caption"] if described else ""
                named.append((caption, thing.shape, thing.colour))
    result = shape_colour_accuracy(named, SHAPES, COLOURS)
    print(result)
    write(
        options.json, {"both": result.both, "shape": result.shape, "colour": result.colour, "regions": result.regions}
    )
    return 0


EXACT = 0.99
"""IoU from which a region is the object's own given box (COCO JSON rounds)."""


def boxes_and_sizes(regions: TableReader) -> tuple[dict[str, np.ndarray], dict[str, tuple[int, int]]]:
    """The boxes (n, 4) of each image, and its width and height, px."""
    boxes, sizes = {}, {}
    for batch in regions.batches(["image_id", "width", "height", "boxes"]):
        for row in batch.to_pylist():
            boxes[row["image_id"]] = np.array(row["boxes"], dtype=np.float32)
            sizes[row["image_id"]] = (row["width"], row["height"])
    return boxes, sizes


def phrases_of(options: TruthOptions, captions: dict[str, Caption], sizes: dict[str, tuple[int, int]]) -> list[Any]:
    """The phrases of the captions with their true boxes; says what was read, and what could not be."""
    own = [(each.image_id, each.caption_id, each.text) for each in captions.values()]
    known = own if options.truth.endswith(".jsonl") else [each for each in own if each[0] in sizes]
    reading = read_truth(options.truth, by_image(known), sizes, options.rescale)
    phrases, errors = reading.split()
    if counted := ", ".join(f"{name} {count}" for name, count in sorted(reading.counts.items())):
        print(f"{reading.format}: {counted}" + (f"; first error: {errors[0].message}" if errors else ""))
    return phrases


def _described(url: str, references: dict[str, list[str]]) -> dict[str, str]:
    found = {}
    for batch in TableReader(url, "descriptions").batches(["image_id", "caption"]):
        for row in batch.to_pylist():
            if row["image_id"] in references:
                found[row["image_id"]] = row["caption"]
    return found


def _nearest(regions: TableReader, train: list[Caption], references: dict[str, list[str]]) -> dict[str, str]:
    import torch

    from vsalign.generation.baselines import nearest_captions
    from vsalign.training.describer import whole_image_features

    texts: dict[str, list[str]] = {}
    for caption in train:
        texts.setdefault(caption.image_id, []).append(caption.text)
    known, queries = (dict(whole_image_features(regions, list(ids))) for ids in (texts, references))
    matrix = [torch.from_numpy(np.stack(list(side.values()))) for side in (queries, known)]
    return dict(zip(queries, nearest_captions(matrix[0], matrix[1], [texts[i] for i in known]), strict=True))


def write(path: str, figures: Any) -> None:
    """Write the figures as JSON where a file was named."""
    if path:
        folder, name = split_url(path)
        Folder(folder).replace(name, json.dumps(figures, indent=1).encode())
