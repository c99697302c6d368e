"""The choice of an extractor, as options on a command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from vsalign.errors import ConfigurationError, ModelError
from vsalign.regions.base import RegionExtractor

ExtractorName = Literal["lite", "torchvision", "given"]

COCO_V1 = "COCO_V1"
"""In place of a weights file: the weights that torchvision downloads, by the name of its enum."""


@dataclass(frozen=True)
class ExtractorConfig:
    """Which regions, and which network's features."""

    name: ExtractorName = "lite"
    """lite: 20 fixed boxes over EfficientNet-Lite0. torchvision: Faster R-CNN's top detections. given: your
    own boxes."""
    weights: str = ""
    """Local weights file; empty: lite's own package. COCO_V1 lets torchvision download its own."""
    input_size: int = 0
    """Side in px that lite resizes pictures to, or Faster R-CNN's short side; 0: the extractor's default (448, 800)."""
    boxes: str = ""
    """given: a COCO JSON of detections or annotations, or the folder of a regions table."""
    top_k: int = 19
    """Regions a picture beside the whole picture (the paper's 19); lite's are fixed."""
    nms: float = 0.5
    """torchvision: IoU above which the lower of two detections of a class is dropped."""
    min_score: float = 0.05
    """torchvision: detections below this score are dropped."""

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
        if self.top_k < 1 or not 0 <= self.nms <= 1 or not 0 <= self.min_score < 1:
            raise ConfigurationError(
                f"top_k {self.top_k}, nms {self.nms}, min_score {self.min_score}: top_k is at least 1, the "
                "others lie in 0..1"
            )


def build_extractor(config: ExtractorConfig) -> RegionExtractor:
    """The extractor of a configuration, with its weights loaded; raises VsalignError where they cannot be."""
    if config.name == "torchvision":
        from vsalign.regions.rcnn import Torchvision

        size = config.input_size or 800
        return Torchvision(config.weights, size, config.top_k, config.nms, config.min_score)
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
    options = {key: identity[key] for key in ("input_size", "top_k", "nms", "min_score") if key in identity}
    extractor = build_extractor(ExtractorConfig(name=identity["name"], weights=weights, boxes=boxes, **options))
    if extractor.identity() != identity:
        raise ModelError(
            f"the model was trained on features of {identity}, the weights at hand give {extractor.identity()}: "
            "name the same weights file with --extractor.weights"
        )
    return extractor
