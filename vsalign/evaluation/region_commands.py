"""`vsalign evaluate regions` and `vsalign boxes`: descriptions of regions that people drew and spoke of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from vsalign.datasets.phrases import TruthOptions
from vsalign.errors import ConfigurationError
from vsalign.evaluation.commands import boxes_and_sizes, phrases_of, write
from vsalign.evaluation.descriptions import METRICS, evaluate_descriptions
from vsalign.evaluation.java import meteor, ptb_tokenize, require_java
from vsalign.evaluation.region_descriptions import (
    MIN_BOXES,
    DescribedRegion,
    TrueRegion,
    dense_map,
    of_true_boxes,
    true_regions,
)
from vsalign.options import parse
from vsalign.storage import Folder, TableReader
from vsalign.storage.folder import split_url
from vsalign.tables import feature_arrays
from vsalign.training.texts import PhraseRules, captions_of, inferred_phrases

Described = dict[str, list[DescribedRegion]]


@dataclass(frozen=True, kw_only=True)
class TrueBoxes(TruthOptions):
    """Which true boxes."""

    captions: str
    """Folder or URL of the captions table, whose sentences hold the phrases."""
    split: str = "dev"
    """The images that are meant."""
    min_boxes: int = MIN_BOXES
    """Images with fewer boxes are left out."""

    def of(self, sizes: dict[str, tuple[int, int]]) -> dict[str, list[TrueRegion]]:
        """The true regions of each image, of which `sizes` says width and height, px."""
        table = TableReader(self.captions, "captions")
        captions = {caption.caption_id: caption for caption in captions_of(table, self.split)}
        found = true_regions(phrases_of(self, captions, sizes), self.min_boxes)
        boxes = sum(map(len, found.values()))
        print(f"{boxes} boxes of {len(found)} images that have {self.min_boxes} or more")
        return found


@dataclass(frozen=True, kw_only=True)
class RegionsOptions(PhraseRules, TrueBoxes):
    """What `vsalign evaluate regions` reads."""

    descriptions: str = ""
    """Folder or URL of the descriptions table; or give --regions for the nearest-neighbour baseline."""
    regions: str = ""
    """Regions table of the true boxes: measures the phrase of the nearest training region instead of a table."""
    train_regions: str = ""
    """With --regions: regions table of the training images."""
    segments: str = ""
    """With --regions: segments table of the training captions, whose phrases the baseline copies."""
    train_split: str = "train"
    """The split whose phrases the baseline copies."""
    meteor: bool = True
    """METEOR, and dense-captioning mAP, which wants it."""
    json: str = ""
    """File that the figures are also written to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.descriptions) == bool(self.regions):
            raise ConfigurationError("give either --descriptions, a table to measure, or --regions, for the baseline")
        if self.regions and not (self.train_regions and self.segments):
            raise ConfigurationError("the baseline of --regions wants --train-regions and --segments beside")
        if self.descriptions and any(getattr(self, each.name) != each.default for each in fields(PhraseRules)):
            raise ConfigurationError("--trim, --min-phrase and --max-phrase are for the baseline of --regions")


def regions(argv: Sequence[str] | None = None) -> int:
    """BLEU and METEOR of descriptions of true boxes, and dense-captioning mAP."""
    about = "Descriptions of regions against the phrases that people said of the same boxes."
    options = parse(RegionsOptions, argv, prog="vsalign evaluate regions", description=about)
    require_java()
    if options.descriptions:
        sizes, described = _described(options.descriptions)
    else:
        sizes, described = _nearest(options)
    truth = options.of(sizes)
    candidates, references = of_true_boxes(truth, described)
    metrics = [name for name in METRICS if options.meteor or name != "METEOR"]
    result = evaluate_descriptions(candidates, references, metrics=metrics)
    print(result)
    figures = {**result.scores, "scored": result.scored}
    if options.meteor and options.descriptions:
        figures["mAP"] = 100 * dense_map(truth, described, _meteor)
        print(f"dense-captioning mAP {figures['mAP']:.2f} (IoU 0.3 to 0.7 x METEOR 0 to 0.25, per cent)")
    write(options.json, figures)
    return 0


def _meteor(candidates: list[str], references: list[list[str]], timeout: float = 600.0) -> list[float]:
    texts = [*candidates, *(text for own in references for text in own)]
    tokens = iter(ptb_tokenize(texts, timeout))
    said = [next(tokens) for _ in candidates]
    _, scores = meteor(said, [[next(tokens) for _ in own] for own in references], timeout)
    return scores


def _described(url: str) -> tuple[dict[str, tuple[int, int]], Described]:
    """Width and height, and the described regions, of each image of a descriptions table."""
    sizes: dict[str, tuple[int, int]] = {}
    described: Described = {}
    for batch in TableReader(url, "descriptions").batches(["image_id", "width", "height", "regions"]):
        for row in batch.to_pylist():
            sizes[row["image_id"]] = row["width"], row["height"]
            described[row["image_id"]] = [
                DescribedRegion(tuple(region["box"]), region["caption"], region["log_prob"])
                for region in row["regions"]
            ]
    return sizes, described


def _nearest(options: RegionsOptions) -> tuple[dict[str, tuple[int, int]], Described]:
    """The same with the phrase of the training region whose feature is most alike (paper, section 4.3)."""
    from vsalign.generation.baselines import nearest_captions

    table, train = TableReader(options.regions, "regions"), TableReader(options.train_regions, "regions")
    train.require_extractor(table.properties["extractor"], needed_by=f"the regions {options.regions}")
    boxes, sizes = boxes_and_sizes(table)
    phrases = _phrases(options)
    known: list[np.ndarray] = []
    said: list[list[str]] = []
    for image_id, features in _features(train):
        for region, phrase in phrases.get(image_id, {}).items():
            known.append(features[region])
            said.append([phrase])
    if not known:
        raise ConfigurationError(
            f"no phrase of {options.segments} {options.said} is on a region of {options.train_regions}"
        )
    references = torch.from_numpy(np.stack(known))
    described: Described = {}
    for image_id, features in _features(table):
        found = nearest_captions(torch.from_numpy(features), references, said)
        rows = zip(boxes[image_id].tolist(), found, strict=True)
        described[image_id] = [DescribedRegion(tuple(box), phrase, 0.0) for box, phrase in rows][1:]
    return sizes, described


def _phrases(options: RegionsOptions) -> Mapping[str, Mapping[int, str]]:
    """The first inferred phrase of each region of the training images."""
    own = captions_of(TableReader(options.captions, "captions"), options.train_split)
    found: dict[str, dict[int, str]] = {}
    for image_id, region, words in inferred_phrases(TableReader(options.segments, "segments"), own, options):
        found.setdefault(image_id, {}).setdefault(region, " ".join(words))
    return found


def _features(table: TableReader) -> Iterator[tuple[str, np.ndarray]]:
    """image_id and features (n, D) float32 of each image."""
    for batch in table.batches(["image_id", "features"]):
        arrays = feature_arrays(batch.column("features"))
        for image_id, features in zip(batch.column("image_id").to_pylist(), arrays, strict=True):
            yield image_id, features.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class BoxesOptions(TrueBoxes):
    """What `vsalign boxes` reads and writes."""

    regions: str
    """A regions table of the images, which says how large they are."""
    output: str
    """COCO JSON file, for `pipelines.extract_regions --extractor.boxes`."""


def boxes(argv: Sequence[str] | None = None) -> int:
    """The boxes that people drew and spoke of as a COCO JSON."""
    about = "Write the boxes of a data set's phrases, for extraction on them."
    options = parse(BoxesOptions, argv, prog="vsalign boxes", description=about)
    _, sizes = boxes_and_sizes(TableReader(options.regions, "regions"))
    truth = options.of(sizes)
    images = [
        {"id": number, "file_name": image_id, "width": sizes[image_id][0], "height": sizes[image_id][1]}
        for number, image_id in enumerate(truth, 1)
    ]
    rows: list[dict[str, Any]] = []
    for number, own in enumerate(truth.values(), 1):
        for region in own:
            x1, y1, x2, y2 = region.box
            rows.append({"id": len(rows) + 1, "image_id": number, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    folder, name = split_url(options.output)
    Folder(folder).replace(name, json.dumps({"images": images, "annotations": rows}).encode())
    print(f"written to {options.output}")
    return 0
