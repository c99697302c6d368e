"""The choice of an extractor, as options on a command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from vsalign.errors import ConfigurationError, ModelError
from vsalign.regions.base import RegionExtractor

ExtractorName = Literal["lite", "rcnn-lite", "torchvision", "given"]

COCO_V1 = "COCO_V1"
"""In place of a weights file: the weights that torchvision downloads, by the name of its enum."""


RECORDED = ("input_size", "top_k", "nms", "min_score")
"""Options that an extractor's identity holds, where they change its rows."""


@dataclass(frozen=True)
class ExtractorConfig:
    """Which regions, and which network's features."""

    name: ExtractorName = "lite"
    """lite: 20 fixed boxes over EfficientNet-Lite0. rcnn-lite: a trained detector's top boxes on it. torchvision:
    Faster R-CNN's top detections. given: your own boxes."""
    weights: str = ""
    """Local weights file; empty: lite's own package. COCO_V1 lets torchvision download its own. rcnn-lite: the folder
    of a detector that jobs.train_detector made."""
    input_size: int = 0
    """Side in px that lite resizes pictures to, or Faster R-CNN's short side; 0: the extractor's default (448, 800).
    rcnn-lite's is its detector's."""
    boxes: str = ""
    """given: a COCO JSON of detections or annotations, or the folder of a regions table."""
    top_k: int = 19
    """Regions a picture beside the whole picture (the paper's 19); lite's are fixed."""
    nms: float = 0.5
    """torchvision, rcnn-lite: IoU above which the lower of two detections (torchvision: of a class) is dropped."""
    min_score: float | None = None
    """torchvision, rcnn-lite: detections below this score are dropped; left out: 0.05 and 0."""

    def __post_init__(self) -> None:
        if self.name not in get_args(ExtractorName):
            raise ConfigurationError(
                f"there is no extractor {self.name!r}: choose one of {', '.join(get_args(ExtractorName))}"
            )
        if self.name == "given" and not self.boxes:
            raise ConfigurationError(
                "the given extractor needs boxes: name a COCO JSON or a regions table with --extractor.boxes"
            )
        if self.name != "given" and self.boxes:
            raise ConfigurationError(
                f"--extractor.boxes is for the given extractor, not {self.name}: add --extractor.name given"
            )
        if self.input_size and (self.input_size < 64 or self.input_size % 32):
            raise ConfigurationError(
                f"--extractor.input-size {self.input_size}: give a multiple of 32 px, at least 64 (the "
                "network's stride is 32)"
            )
        if self.name == "rcnn-lite" and self.input_size:
            raise ConfigurationError("--extractor.input-size: rcnn-lite's is the one its detector was trained at")
        if self.top_k < 1 or not 0 <= self.nms <= 1 or not 0 <= (self.min_score or 0) < 1:
            raise ConfigurationError(
                f"top_k {self.top_k}, nms {self.nms}, min_score {self.min_score}: top_k is at least 1, the "
                "others lie in 0..1"
            )


def build_extractor(config: ExtractorConfig) -> RegionExtractor:
    """The extractor of a configuration, with its weights loaded; raises VsalignError where they cannot be."""
    if config.name == "torchvision":
        from vsalign.regions.rcnn import Torchvision

        size = config.input_size or 800
        least = 0.05 if config.min_score is None else config.min_score
        return Torchvision(config.weights, size, config.top_k, config.nms, least)
    if config.name == "rcnn-lite":
        from vsalign.regions.rcnn_lite import RcnnLite

        return RcnnLite(config.weights, config.top_k, config.nms, config.min_score or 0.0)
    from vsalign.regions.lite import Given, Lite

    size = config.input_size or 448
    if config.name == "given":
        return Given(config.boxes, config.weights, size, config.top_k)
    return Lite(config.weights, size)


def extractor_of(identity: dict[str, Any], *, weights: str = "", boxes: str = "") -> RegionExtractor:
    """The extractor that a model was trained on, rebuilt from its recorded identity.

    Raises ModelError where the weights at hand are others than the recorded ones, or this vsalign has no such
    extractor.
    """
    if identity.get("name") not in get_args(ExtractorName):
        raise ModelError(
            f"the model was trained on features of {identity.get('name')!r}, which this vsalign cannot extract: "
            f"it has {', '.join(get_args(ExtractorName))}"
        )
    recorded = ("top_k", "nms", "min_score") if identity["name"] == "rcnn-lite" else RECORDED
    options = {key: identity[key] for key in recorded if key in identity}
    extractor = build_extractor(ExtractorConfig(name=identity["name"], weights=weights, boxes=boxes, **options))
    if extractor.identity() != identity:
        raise ModelError(
            f"the model was trained on features of {identity}, the weights at hand give {extractor.identity()}: "
            "name the same weights file with --extractor.weights"
        )
    return extractor
