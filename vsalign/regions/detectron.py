"""`detectron2`: the detections of any R-CNN config of detectron2, and the features of its box head.

detectron2 is asked by its public parts alone. Its masks and keypoints are left out of the model: no row needs them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vsalign.errors import ConfigurationError, MissingInputError, ModelError
from vsalign.regions.base import Prepared, RegionExtractor, Regions
from vsalign.regions.network import load_tensors, tensors_sha256
from vsalign.regions.placement import Placement
from vsalign.regions.pooled import with_whole
from vsalign.regions.rcnn import widened
from vsalign.regions.torchvision_models import (
    COMMON_RATIO,
    FILE_LICENCE,
    SMALLEST_INPUT,
    ShortenedBackbone,
    padded,
)

INSTALL = "https://github.com/facebookresearch/detectron2/blob/main/INSTALL.md"

ARCHITECTURES = ("GeneralizedRCNN", "PanopticFPN")
"""Those with roi heads; the second is the first and a segmentation beside it, which no row needs."""

PICKLES = (".pkl", ".pickle")

PROBE_CELLS = 8
"""Cells a side of the empty maps that tell how long a feature is."""


class Detectron2(RegionExtractor):
    """The paper's 20 regions from a detector that detectron2 trained (section 3.1.1).

    config: a YAML file of detectron2's, or the name of one in its model zoo, of a generalised R-CNN (C4, DC5, FPN or
    cascade; with masks, keypoints, a panoptic head or without). weights: a local state dict, or a checkpoint that
    holds one under `model`. input_size: px of the short side; 0: the config's own. D is the width of the box head
    (the last one of a cascade). Raises ConfigurationError, MissingInputError, ModelError.
    """

    name = "detectron2"
    licence = f"{FILE_LICENCE} (detectron2's code is Apache-2.0)"

    def __init__(
        self,
        config: str,
        weights: str,
        input_size: int = 0,
        top_k: int = 19,
        nms: float = 0.5,
        min_score: float = 0.05,
        placement: Placement | None = None,
    ) -> None:
        self.placement = placement or Placement()
        _given(config, weights)
        settings = _settings(config)
        _resize_to(settings, config, input_size)
        settings.MODEL.ROI_HEADS.NMS_THRESH_TEST = nms
        settings.MODEL.ROI_HEADS.SCORE_THRESH_TEST = min_score
        settings.TEST.DETECTIONS_PER_IMAGE = top_k
        state = load_state(Path(weights))
        self.short, self.long = int(settings.INPUT.MIN_SIZE_TEST), int(settings.INPUT.MAX_SIZE_TEST)
        self.blue_first = settings.INPUT.FORMAT == "BGR"
        self.options = {"input_size": self.short, "top_k": top_k, "nms": nms, "min_score": min_score}
        self.weights_sha256 = tensors_sha256(state)
        self.config_sha256 = hashlib.sha256(settings.dump().encode()).hexdigest()
        settings.MODEL.DEVICE = str(self.placement.device)
        self.model = _model(config, settings, state)
        self.backbone = self.model.backbone
        if self.placement.dtype != torch.float32:
            self.backbone = ShortenedBackbone(self.model.backbone, self.placement)
        self.dim = self._width()

    def identity(self) -> dict[str, Any]:
        facts = {"name": self.name, "dim": self.dim, "weights_sha256": self.weights_sha256}
        return {**facts, "config_sha256": self.config_sha256, **self.options}

    def prepare(self, image_id: str, image: np.ndarray, size: tuple[int, int] | None = None) -> Prepared:
        # Resized here, and left as uint8: a batch of large photographs would cost gigabytes as float32.
        from detectron2.data.transforms import ResizeShortestEdge, ResizeTransform

        height, width = image.shape[:2]
        image = widened(image, self.short, self.long)
        size = ResizeShortestEdge.get_output_shape(*image.shape[:2], self.short, self.long)
        resized = ResizeTransform(*image.shape[:2], *size).apply_image(image)
        ordered = resized[:, :, ::-1] if self.blue_first else resized
        return Prepared(image_id, width, height, torch.from_numpy(ordered.copy()).permute(2, 0, 1))

    @torch.inference_mode()
    def extract(self, batch: list[Prepared]) -> list[Regions]:
        # Only pictures of one padded size go through the network together: as in rcnn, what a picture gets shall not
        # depend on the pictures beside it.
        divisible = max(1, self.model.backbone.size_divisibility)
        together: dict[tuple[int, int], list[int]] = {}
        for at, picture in enumerate(batch):
            together.setdefault(padded(picture.pixels, divisible), []).append(at)
        regions: dict[int, Regions] = {}
        for group in together.values():
            regions.update(zip(group, self._regions([batch[at] for at in group]), strict=True))
        return [regions[at] for at in range(len(batch))]

    def _regions(self, batch: list[Prepared]) -> list[Regions]:
        """The regions of each picture of a batch of one padded size."""
        from detectron2.structures import Boxes

        images = self.model.preprocess_image([{"image": picture.pixels.float()} for picture in batch])
        maps = self.backbone(images.tensor)
        proposals, _ = self.model.proposal_generator(images, maps, None)
        detections, _ = self.model.roi_heads(images, maps, proposals, None)
        inner, upright, scores = [], [], []
        for found, picture in zip(detections, batch, strict=True):
            boxes = in_picture(found.pred_boxes.tensor, found.image_size, picture)
            kept = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)  # as detectron2 leaves out boxes without a pixel
            height, width = found.image_size
            whole = boxes.new_tensor([[0, 0, width, height]])
            inner.append(Boxes(torch.cat([whole, found.pred_boxes.tensor[kept]])))
            upright.append(boxes[kept].cpu().numpy())
            scores.append(found.scores[kept].cpu().numpy())
        features = self._features(maps, inner).float().cpu().split([len(each) for each in inner])
        return [
            Regions(*with_whole(boxes, score, picture.width, picture.height), feature.numpy())
            for boxes, score, feature, picture in zip(upright, scores, features, batch, strict=True)
        ]

    def _features(self, maps: dict[str, Tensor], boxes: list[Any]) -> Tensor:
        """The box head's vectors (n, D) of each picture's Boxes, in px of the resized pictures, one after another."""
        heads = self.model.roi_heads
        read = [maps[name] for name in heads.in_features]
        if hasattr(heads, "res5"):  # C4: its box head is the backbone's last block
            vectors = heads.res5(heads.pooler(read, boxes))
        else:
            last = heads.box_head[-1] if isinstance(heads.box_head, nn.ModuleList) else heads.box_head  # a cascade's
            vectors = last(heads.box_pooler(read, boxes))
        return vectors.mean((2, 3)) if vectors.dim() == 4 else vectors

    @torch.inference_mode()
    def _width(self) -> int:
        """D: what comes out of the box head for a box on empty maps."""
        from detectron2.structures import Boxes

        device = self.placement.device
        shapes = self.model.backbone.output_shape()
        maps = {
            name: torch.zeros(1, shape.channels, PROBE_CELLS, PROBE_CELLS, device=device)
            for name, shape in shapes.items()
        }
        box = Boxes(torch.tensor([[0.0, 0.0, 32.0, 32.0]], device=device))
        return int(self._features(maps, [box]).shape[1])


def in_picture(boxes: Tensor, inner: tuple[int, int], picture: Prepared) -> Tensor:
    """Boxes (n, 4) of the resized picture (inner: height, width px) in px of the upright picture, inside it."""
    size = boxes.new_tensor([picture.width, picture.height] * 2)
    ratio = boxes.new_tensor([picture.width / inner[1], picture.height / inner[0]] * 2)
    return torch.minimum((boxes * ratio).clamp(min=0), size)


def load_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, or of the one under `model` in a checkpoint of detectron2; never pickled code.

    Raises MissingInputError and ModelError.
    """
    try:
        return load_tensors(path)
    except ModelError:
        state = _checkpoint(path)
        if state is None:
            raise
        return state


def _checkpoint(path: Path) -> dict[str, Tensor] | None:
    """The tensors under `model`, or None where the file has none or holds more than plain values."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    except Exception:  # whatever it is, load_tensors has said it
        return None
    good = isinstance(state, dict) and state and all(isinstance(value, Tensor) for value in state.values())
    return dict(state) if good else None


def _given(config: str, weights: str) -> None:
    """Raise where something is not given, is a pickle, or detectron2 is not installed."""
    if not config:
        raise ConfigurationError(
            "the detectron2 extractor needs --extractor.model: a config of detectron2 (YAML), or the name of one in "
            "its model zoo"
        )
    if not weights:
        raise ConfigurationError("the detectron2 extractor needs --extractor.weights: a local state dict of the config")
    if Path(weights).suffix.lower() in PICKLES:
        raise ModelError(
            f"{weights} is pickled, and loading it could run any code: convert it, on a machine that you trust, to a "
            ".pth with torch.save(model.state_dict(), ...)"
        )
    try:
        import detectron2.modeling  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"the detectron2 extractor needs the package detectron2 ({_first_line(error)}), which is not on PyPI: "
            f"install it as {INSTALL} says"
        ) from error


def _settings(config: str) -> Any:
    """The config (a CfgNode) without its device, its weights' path and all that no region needs.

    Raises MissingInputError where there is no such file, ConfigurationError where it is no config of an R-CNN.
    """
    from detectron2.config import get_cfg

    path, settings = _config_file(config), get_cfg()
    try:
        settings.merge_from_file(str(path), allow_unsafe=False)
    except Exception as error:
        raise ConfigurationError(f"{config} is no config that detectron2 can read: {_first_line(error)}") from error
    kind = settings.MODEL.META_ARCHITECTURE
    if kind not in ARCHITECTURES:
        raise ConfigurationError(
            f"{config} is of a {kind}, which has no head for boxes (roi_heads): choose one of a Faster or Mask R-CNN"
        )
    if settings.INPUT.FORMAT not in ("BGR", "RGB"):
        raise ConfigurationError(f"{config} wants pictures as {settings.INPUT.FORMAT}: choose one of BGR or RGB")
    if "Rotated" in settings.MODEL.ROI_BOX_HEAD.POOLER_TYPE:
        raise ConfigurationError(f"{config} finds rotated boxes, which no table here holds: choose one of upright ones")
    if settings.MODEL.PROPOSAL_GENERATOR.NAME == "PrecomputedProposals":
        raise ConfigurationError(f"{config} reads its proposals from a file: choose one that finds them itself")
    settings.MODEL.META_ARCHITECTURE = ARCHITECTURES[0]
    settings.MODEL.MASK_ON = settings.MODEL.KEYPOINT_ON = False
    settings.MODEL.DEVICE, settings.MODEL.WEIGHTS, settings.OUTPUT_DIR = "cpu", "", ""
    return settings


def _config_file(config: str) -> Path:
    """A file of that path, or of that name among the configs that detectron2 brings; raises MissingInputError.

    detectron2.model_zoo would find the second too, but needs setuptools below 82 (pkg_resources) to be imported.
    """
    import detectron2

    own = Path(str(detectron2.__file__)).parent / "model_zoo" / "configs" / config
    for path in (Path(config), own):
        if path.is_file():
            return path
    raise MissingInputError(
        f"there is no config {config}: name a YAML file of detectron2's, or one of its model zoo such as "
        "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"
    )


def _resize_to(settings: Any, config: str, input_size: int) -> None:
    """Let a config resize pictures to a short side of `input_size` px; 0: its own. Raises ConfigurationError."""
    own = int(settings.INPUT.MIN_SIZE_TEST)
    if input_size in (0, own):
        if own < 1:
            raise ConfigurationError(f"{config} resizes no picture: give a size with --extractor.input-size")
        return
    if input_size < SMALLEST_INPUT:
        raise ConfigurationError(f"--extractor.input-size {input_size}: give detectron2 at least {SMALLEST_INPUT} px")
    settings.INPUT.MIN_SIZE_TEST = input_size
    settings.INPUT.MAX_SIZE_TEST = round(input_size * COMMON_RATIO)


def _model(config: str, settings: Any, state: dict[str, Tensor]) -> Any:
    """The model of a config, evaluating and frozen, with those weights; raises ConfigurationError, ModelError."""
    from detectron2.modeling import build_model

    try:
        model = build_model(settings)
    except Exception as error:
        raise ConfigurationError(f"detectron2 cannot build the model of {config}: {_first_line(error)}") from error
    if not hasattr(model.roi_heads, "box_pooler") and not hasattr(model.roi_heads, "res5"):
        raise ConfigurationError(f"{config} has {type(model.roi_heads).__name__}, whose box head is not known here")
    names = list(model.state_dict())
    absent = [name for name in names if name not in state]
    if absent:
        raise ModelError(
            f"the weights are not those of {config}: {len(absent)} of its {len(names)} tensors are absent, such as "
            f"{absent[0]}"
        )
    try:
        model.load_state_dict({name: state[name] for name in names})
    except RuntimeError as error:
        fault = str(error).splitlines()[-1].strip()
        raise ModelError(f"the weights are not those of {config}: {fault}") from error
    return model.eval().requires_grad_(False)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
