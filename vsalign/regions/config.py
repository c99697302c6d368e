"""The choice of an extractor, as options on a command line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from vsalign.errors import ConfigurationError, ModelError
from vsalign.options import closest
from vsalign.regions.base import RegionExtractor
from vsalign.regions.placement import DeviceName, Placement, Precision, Runtime
from vsalign.regions.pooled import Pooling

NAMES = ("rcnn-lite", "lite", "given", "torchvision", "detectron2")
TIMM = "timm:"
"""Before the name of a backbone."""

DETECTORS = ("rcnn-lite", "torchvision", "detectron2")
"""Those that find their boxes, and keep the best."""

ON_LITE = ("rcnn-lite", "lite", "given")
"""Those on EfficientNet-Lite0, which ONNX Runtime can compute."""

RECORDED = ("model", "pooling", "input_size", "top_k", "nms", "min_score")
"""Options that an extractor's identity holds, where they change its rows."""


@dataclass(frozen=True)
class ExtractorFiles:
    """What an extractor reads, and where it runs: it changes no row but in the last digits."""

    weights: str = ""
    """Local weights file, tensors only (.safetensors, .pth). lite, given: left out, their package's. rcnn-lite: the
    folder of a detector that jobs.train_detector made; left out, that of vsalign-models. torchvision: or the name of
    weights that torchvision downloads, such as COCO_V1. timm:…: or pretrained, which timm downloads."""
    model: str = ""
    """torchvision: its function's name; left out, fasterrcnn_resnet50_fpn. detectron2: the config's file, or its name
    in the model zoo."""
    boxes: str = ""
    """given, timm:…, and rcnn-lite in place of what it finds: a COCO JSON of detections or annotations, or the folder
    of a regions table."""
    device: DeviceName = "auto"
    """auto: a GPU where there is one."""
    precision: Precision = "float32"
    """Of the backbone, on a GPU: bfloat16 and float16 are faster, and the features differ (docs/results.md says how
    much)."""
    runtime: Runtime = "auto"
    """What computes EfficientNet-Lite0 on a CPU. auto: ONNX Runtime where it is installed (the extra onnx), which is
    faster; features differ from torch's in their last digits, so a table keeps to one."""

    def placement(self) -> Placement:
        """Where it runs; raises ConfigurationError where that is not to be had here."""
        return Placement.of(self.device, self.precision, self.runtime)


Files = TypeVar("Files", bound=ExtractorFiles)


@dataclass(frozen=True)
class ExtractorConfig(ExtractorFiles):
    """Which regions, and which network's features."""

    name: str = "rcnn-lite"
    """rcnn-lite: what a small trained detector finds, features of its backbone EfficientNet-Lite0. lite: 20 fixed boxes
    on the same. given: your own boxes on the same. torchvision: any of its detection models. detectron2: any of its
    configs. timm:NAME: any backbone of timm, fixed or given boxes."""
    pooling: Pooling = "map"
    """map: a box's feature is an average of the picture's feature map. crop: each box goes through the network alone,
    as in the paper, at several times the work. both: these numbers and those side by side, which rank best. Not for
    torchvision and detectron2, which pool as they were trained."""
    input_size: int = 0
    """px that pictures are resized to: both sides, or the detection models' short one; 0: the extractor's own.
    rcnn-lite's is its detector's."""
    top_k: int = 19
    """Regions a picture beside the whole picture (the paper's 19); fixed boxes are always 19."""
    nms: float = 0.5
    """Of detections: IoU above which the lower of two (of a class) is dropped."""
    min_score: float | None = None
    """Detections below this score are dropped; left out: 0.05, rcnn-lite 0."""

    def __post_init__(self) -> None:
        if self.name not in NAMES and not self.name.startswith(TIMM):
            near = closest(self.name, NAMES)
            raise ConfigurationError(
                f"there is no extractor {self.name!r}: "
                + (f"did you mean {near}?" if near else f"choose one of {', '.join(NAMES)}, {TIMM}NAME")
            )
        if self.name == "given" and not self.boxes:
            raise ConfigurationError(
                "the given extractor needs boxes: name a COCO JSON or a regions table with --extractor.boxes"
            )
        if self.boxes and not takes_boxes(self.name):
            raise ConfigurationError(
                f"--extractor.boxes is for given boxes, not {self.name}: add --extractor.name given"
            )
        if self.model and self.name not in ("torchvision", "detectron2"):
            raise ConfigurationError(
                f"--extractor.model {self.model} is for torchvision and detectron2, not {self.name}"
            )
        if self.runtime == "onnxruntime" and self.name not in ON_LITE:
            raise ConfigurationError(
                f"--extractor.runtime onnxruntime is for {', '.join(ON_LITE)}, not {self.name}: leave it out"
            )
        if self.pooling != "map" and self.name in ("torchvision", "detectron2"):
            raise ConfigurationError(f"--extractor.pooling {self.pooling}: {self.name} pools as it was trained to")
        if self.input_size and (self.input_size < 64 or self.input_size % 32) and self.name in ("lite", "given"):
            raise ConfigurationError(
                f"--extractor.input-size {self.input_size}: give a multiple of 32 px, at least 64 (the "
                "network's stride is 32)"
            )
        if self.name == "rcnn-lite" and self.input_size:
            raise ConfigurationError("--extractor.input-size: rcnn-lite's is the one its detector was trained at")
        if self.input_size < 0 or self.top_k < 1 or not 0 <= self.nms <= 1 or not 0 <= (self.min_score or 0) < 1:
            raise ConfigurationError(
                f"input_size {self.input_size}, top_k {self.top_k}, nms {self.nms}, min_score {self.min_score}: none "
                "is negative, top_k is at least 1, the last two lie in 0..1"
            )


def build_extractor(config: ExtractorConfig) -> RegionExtractor:
    """The extractor of a configuration, with its weights loaded; raises VsalignError where they cannot be."""
    placement = config.placement()
    if config.name in ("torchvision", "detectron2"):
        return _detection_model(config, placement)
    if config.name == "rcnn-lite":
        from vsalign.regions.rcnn_lite import RcnnLite

        least = config.min_score or 0.0
        return RcnnLite(config.weights, config.top_k, config.nms, least, config.pooling, placement, config.boxes)
    if config.name.startswith(TIMM):
        from vsalign.regions.pooled import PooledRegions
        from vsalign.regions.timm_network import TimmNetwork

        network = TimmNetwork(config.name.removeprefix(TIMM), config.weights, config.input_size)
        return PooledRegions(config.name, network, network.side, config.pooling, config.boxes, config.top_k, placement)
    from vsalign.regions.lite import INPUT_SIZE, Given, Lite

    size = config.input_size or INPUT_SIZE
    if config.name == "given":
        return Given(config.boxes, config.weights, size, config.top_k, config.pooling, placement)
    return Lite(config.weights, size, config.pooling, placement)


def _detection_model(config: ExtractorConfig, placement: Placement) -> RegionExtractor:
    least = 0.05 if config.min_score is None else config.min_score
    options = (config.weights, config.input_size, config.top_k, config.nms, least, placement)
    if config.name == "detectron2":
        from vsalign.regions.detectron import Detectron2

        return Detectron2(config.model, *options)
    from vsalign.regions.rcnn import Torchvision

    return Torchvision(config.model or "fasterrcnn_resnet50_fpn", *options)


def extractor_of(identity: dict[str, Any], files: ExtractorFiles | None = None) -> RegionExtractor:
    """The extractor that a model was trained on, rebuilt from its recorded identity.

    Raises ModelError where the weights at hand are others than the recorded ones, or this vsalign has no such
    extractor.
    """
    name = str(identity.get("name"))
    if name not in NAMES and not name.startswith(TIMM):
        raise ModelError(
            f"the model was trained on features of {identity.get('name')!r}, which this vsalign cannot extract: "
            f"it has {', '.join(NAMES)}, {TIMM}NAME"
        )
    options = {key: identity[key] for key in RECORDED if key in identity}
    if name == "rcnn-lite":
        del options["input_size"]
    given = vars(files) if files else {}
    extractor = build_extractor(ExtractorConfig(**{**given, "name": name, **options}))
    if extractor.identity() != identity:
        raise ModelError(
            f"the model was trained on features of {identity}, the weights at hand give {extractor.identity()}: "
            "name the same weights file with --extractor.weights"
        )
    return extractor


def settled(files: Files, extractor: RegionExtractor) -> Files:
    """The same files, with the runtime that the extractor chose here: what the other machines of a run must take."""
    return replace(files, runtime=extractor.runtime)


def reads_boxes(identity: dict[str, Any]) -> bool:
    """Whether the extractor of that identity is one of given boxes."""
    return identity.get("name") == "given" or (str(identity.get("name")).startswith(TIMM) and "top_k" in identity)


def takes_boxes(name: str) -> bool:
    """Whether the extractor of that name may be given boxes; one that finds boxes then pools those that are given."""
    return name in ("given", "rcnn-lite") or name.startswith(TIMM)


def said(extractor: RegionExtractor) -> str:
    """One line on an extractor, for whoever starts a run: its dimension, its weights, their size and their terms."""
    return (
        f"extractor {extractor.name}: {extractor.dim} numbers a region, {extractor.weights_bytes() / 1e6:.0f} MB of "
        f"weights in each process, SHA-256 {extractor.weights_sha256[:12]}…; their terms: {extractor.licence}"
    )
