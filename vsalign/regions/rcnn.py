"""`torchvision`: Faster R-CNN ResNet-50 FPN, the top detections and the whole picture, features of its box head."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vsalign.errors import ConfigurationError, MissingInputError, ModelError
from vsalign.regions.base import Prepared, RegionExtractor, Regions, whole_image
from vsalign.regions.config import COCO_V1
from vsalign.regions.network import load_tensors

FPN_NMS_LIMIT = 1000
"""Candidates a picture that go into the NMS, the best first; only the top 20 or so of what it leaves are used."""

THINNEST_BOX = 1e-2
"""px; torchvision's own limit, so that the detections are the ones that it would give."""

THINNEST = 32
"""px that the short side keeps: the stride of the backbone, below which a feature map has no cell of its own."""


class Torchvision(RegionExtractor):
    """The paper's 20 regions from a trained detector (section 3.1.1): D = 1024, the layer before its classifier.

    `weights` is a local state dict of torchvision's fasterrcnn_resnet50_fpn, or "COCO_V1" for torchvision's own
    enum, which is downloaded. Raises ConfigurationError, MissingInputError, ModelError.
    """

    name = "torchvision"
    dim = 1024

    def __init__(
        self, weights: str, input_size: int = 800, top_k: int = 19, nms: float = 0.5, min_score: float = 0.05
    ) -> None:
        if not weights:
            raise ConfigurationError(
                "the torchvision extractor needs --extractor.weights: a local state dict, or COCO_V1 to download "
                "torchvision's own"
            )
        self.options = {"input_size": input_size, "top_k": top_k, "nms": nms, "min_score": min_score}
        self.top_k, self.nms, self.min_score = top_k, nms, min_score
        state = _state(weights)
        self.model = _model(state, input_size)
        self.weights_sha256 = tensors_sha256(state)

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "dim": self.dim, "weights_sha256": self.weights_sha256, **self.options}

    @torch.inference_mode()
    def prepare(self, image_id: str, image: np.ndarray) -> Prepared:
        # Resized here, not in `extract`: a batch of large photographs would cost gigabytes as float32.
        height, width = image.shape[:2]
        transform = self.model.transform
        image = widened(image, transform.min_size[-1], transform.max_size)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return Prepared(image_id, width, height, transform.resize(transform.normalize(pixels))[0])

    @torch.inference_mode()
    def extract(self, batch: list[Prepared]) -> list[Regions]:
        model = self.model
        sizes = [(picture.height, picture.width) for picture in batch]
        images = _image_list(model.transform, [picture.pixels for picture in batch])
        maps = model.backbone(images.tensors)
        proposals, _ = model.rpn(images, maps)
        heads = model.roi_heads
        classes = heads.box_predictor(heads.box_head(heads.box_roi_pool(maps, proposals, images.image_sizes)))
        chosen = self._detections(classes, proposals, images.image_sizes)
        scaled = [
            torch.cat([torch.tensor([[0.0, 0.0, width, height]]), boxes])
            for (height, width), (boxes, _) in zip(images.image_sizes, chosen, strict=True)
        ]
        features = heads.box_head(heads.box_roi_pool(maps, scaled, images.image_sizes))
        found = features.split([len(boxes) for boxes in scaled])
        return [
            _regions(boxes, scores, feature, inner, outer)
            for (boxes, scores), feature, inner, outer in zip(chosen, found, images.image_sizes, sizes, strict=True)
        ]

    def _detections(
        self, classes: tuple[Tensor, Tensor], proposals: list[Tensor], sizes: list[tuple[int, int]]
    ) -> list[tuple[Tensor, Tensor]]:
        """The top boxes (n, 4) and scores (n,) of each picture, in the resized picture's px: class-wise NMS,
        then score."""
        from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

        logits, deltas = classes
        boxes = self.model.roi_heads.box_coder.decode(deltas, proposals).split([len(p) for p in proposals])
        scores = logits.softmax(-1).split([len(p) for p in proposals])
        chosen = []
        for box, score, size in zip(boxes, scores, sizes, strict=True):
            box, score = clip_boxes_to_image(box[:, 1:], size), score[:, 1:]  # column 0 is the background
            candidate, label = torch.nonzero(score > self.min_score, as_tuple=True)
            box, score = box[candidate, label], score[candidate, label]
            large = remove_small_boxes(box, THINNEST_BOX)
            box, score, label = box[large], score[large], label[large]
            order = score.sort(descending=True, stable=True).indices[:FPN_NMS_LIMIT]
            box, score, label = box[order], score[order], label[order]
            keep = batched_nms(box, score, label, self.nms)[: self.top_k]
            chosen.append((box[keep], score[keep]))
        return chosen


def widened(image: np.ndarray, short: int, long: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 so slender that the detector's own resizing (to `short`, at most `long` px) would
    leave less than THINNEST px of its short side: that side drawn out. Others are returned as they are."""
    height, width = image.shape[:2]
    scale = min(short / min(height, width), long / max(height, width))
    if min(height, width) * scale >= THINNEST:
        return image
    size = [max(THINNEST, min(long, round(side * scale))) for side in (width, height)]
    return np.asarray(Image.fromarray(image).resize((size[0], size[1]), Image.Resampling.BILINEAR))


def _image_list(transform: Any, pictures: list[Tensor]) -> Any:
    """What torchvision's transform makes of pictures that it has normalised and resized already."""
    from torchvision.models.detection.image_list import ImageList

    sizes = [(picture.shape[1], picture.shape[2]) for picture in pictures]
    return ImageList(transform.batch_images(pictures, size_divisible=transform.size_divisible), sizes)


def _regions(
    boxes: Tensor, scores: Tensor, features: Tensor, inner: tuple[int, int], outer: tuple[int, int]
) -> Regions:
    """Boxes of the resized picture (inner: height, width px) in the upright picture's px (outer)."""
    ratio = np.array([outer[1] / inner[1], outer[0] / inner[0]] * 2, dtype=np.float32)
    limit = np.array([outer[1], outer[0]] * 2, dtype=np.float32)
    return Regions(
        np.concatenate([whole_image(outer[1], outer[0]), np.clip(boxes.numpy() * ratio, 0, limit)]),
        np.concatenate([np.ones(1, dtype=np.float32), scores.numpy()]),
        features.numpy(),
    )


def tensors_sha256(state: dict[str, Tensor]) -> str:
    """The SHA-256 of tensors by name, dtype, shape and bytes: the same for a download, a .pth and a .safetensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _state(weights: str) -> dict[str, Tensor]:
    if weights != COCO_V1:
        return load_tensors(Path(weights))
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    try:
        return dict(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:  # no network; or what came is not what torchvision's name for it says
        raise MissingInputError(
            f"the weights {COCO_V1} cannot be downloaded ({error}): name a local copy with --extractor.weights"
        ) from error


def _model(state: dict[str, Tensor], input_size: int) -> Any:
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    try:
        classes = state["roi_heads.box_predictor.cls_score.weight"].shape[0]
        model = fasterrcnn_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            num_classes=classes,
            min_size=input_size,
            max_size=round(input_size * 5 / 3),
        )
        model.load_state_dict(state)
    except (KeyError, IndexError, RuntimeError) as error:
        raise ModelError(
            f"the weights are no state dict of torchvision's fasterrcnn_resnet50_fpn: {str(error).splitlines()[0]}"
        ) from error
    return model.eval().requires_grad_(False)
