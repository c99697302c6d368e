"""`torchvision`: any of its detection models, the top detections and the whole picture.

The R-CNN models' features are those of their box head; `one_stage` says what the others' are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vsalign.regions.base import Prepared, RegionExtractor, Regions
from vsalign.regions.network import tensors_sha256
from vsalign.regions.one_stage import Found, MapShapes, OneStage
from vsalign.regions.placement import Placement
from vsalign.regions.pooled import with_whole
from vsalign.regions.torchvision_models import (
    DEFAULT_MODEL,
    detection_model,
    image_list,
    map_shapes,
    padded,
    place,
    set_input_size,
)

FPN_NMS_LIMIT = 1000
"""Candidates a picture that go into the NMS, the best first; only the top 20 or so of what it leaves are used."""

THINNEST_BOX = 1e-2
"""px; torchvision's own limit, so that the detections are the ones that it would give."""

THINNEST = 32
"""px that the short side keeps: the stride of the backbone, below which a feature map has no cell of its own."""

PROBE = 512
"""px; a side of which the strides of all maps are whole."""


class Torchvision(RegionExtractor):
    """The paper's 20 regions from a trained detector (section 3.1.1).

    model: the name of torchvision's function. weights: a local state dict of it, or the name of torchvision's own
    (COCO_V1), which is downloaded. input_size: px of the short side; 0: the model's own. D is 1024, the layer before
    the classifier, of an R-CNN; the channels of a backbone map else (256 of RetinaNet and FCOS, 512 and 480 of SSD).
    Raises ConfigurationError, MissingInputError, ModelError.
    """

    name = "torchvision"

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        weights: str = "",
        input_size: int = 0,
        top_k: int = 19,
        nms: float = 0.5,
        min_score: float = 0.05,
        placement: Placement | None = None,
    ) -> None:
        self.placement = placement or Placement()
        loaded = detection_model(model, weights)
        self.model, self.licence = loaded.network, loaded.licence
        size = set_input_size(self.model, model, input_size)
        self.options = {"model": model, "input_size": size, "top_k": top_k, "nms": nms, "min_score": min_score}
        self.weights_sha256 = tensors_sha256(loaded.state)
        self.transform = self.model.transform
        place(self.model, self.placement)
        side = size if self.transform.fixed_size else PROBE
        kind = TwoStage if hasattr(self.model, "roi_heads") else OneStage
        self.detector: TwoStage | OneStage = kind(self.model, map_shapes(model, side), side, top_k, nms, min_score)
        self.dim = self.detector.dim

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "dim": self.dim, "weights_sha256": self.weights_sha256, **self.options}

    @torch.inference_mode()
    def prepare(self, image_id: str, image: np.ndarray, size: tuple[int, int] | None = None) -> Prepared:
        # Resized here, not in `extract`: a batch of large photographs would cost gigabytes as float32.
        height, width = image.shape[:2]
        transform = self.transform
        if not transform.fixed_size:
            image = widened(image, transform.min_size[-1], transform.max_size)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return Prepared(image_id, width, height, transform.resize(transform.normalize(pixels))[0])

    @torch.inference_mode()
    def extract(self, batch: list[Prepared]) -> list[Regions]:
        # Only pictures of one padded size go through the network together. More padding would change what a picture
        # gets with the pictures beside it, and cost its share of the work.
        together: dict[tuple[int, int], list[int]] = {}
        for at, picture in enumerate(batch):
            together.setdefault(padded(picture.pixels, self.transform.size_divisible), []).append(at)
        regions: dict[int, Regions] = {}
        for group in together.values():
            images = image_list(self.transform, [batch[at].pixels for at in group], self.placement.device)
            for at, found, inner in zip(group, self.detector(images), images.image_sizes, strict=True):
                regions[at] = _regions(found, inner, batch[at])
        return [regions[at] for at in range(len(batch))]


class TwoStage:
    """An R-CNN's detections and the features (1024) of its box head; the heads of masks and keypoints never run.

    maps: the shapes (C, h, w) of its backbone's maps of a square picture of `side` px.
    """

    def __init__(self, model: Any, maps: MapShapes, side: int, top_k: int, nms: float, min_score: float) -> None:
        self.model, self.top_k, self.nms, self.min_score = model, top_k, nms, min_score
        self.dim = int(model.roi_heads.box_predictor.cls_score.in_features)
        # torchvision's pooling takes the maps' strides from the first batch it sees, for good: wrong ones where those
        # pictures are so slender that most of the batch's height is padding.
        box = model.roi_heads.box_predictor.cls_score.weight.new_tensor([[0.0, 0.0, side, side]])
        model.roi_heads.box_roi_pool(
            {name: box.new_zeros(1, *shape) for name, shape in maps.items()}, [box], [(side, side)]
        )

    def __call__(self, images: Any) -> list[Found]:
        """The detections of an ImageList: pictures (B, 3, H, W), padded, on the model's device."""
        model, heads = self.model, self.model.roi_heads
        maps = model.backbone(images.tensors)
        proposals, _ = model.rpn(images, maps)
        classes = heads.box_predictor(heads.box_head(heads.box_roi_pool(maps, proposals, images.image_sizes)))
        chosen = self._detections(classes, proposals, images.image_sizes)
        scaled = [
            torch.cat([boxes.new_tensor([[0.0, 0.0, width, height]]), boxes])
            for (height, width), (boxes, _) in zip(images.image_sizes, chosen, strict=True)
        ]
        features = heads.box_head(heads.box_roi_pool(maps, scaled, images.image_sizes))
        rows = features.split([len(boxes) for boxes in scaled])
        return [(boxes, scores, own) for (boxes, scores), own in zip(chosen, rows, strict=True)]

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


def _regions(found: Found, inner: tuple[int, int], picture: Prepared) -> Regions:
    """Detections in the resized picture (inner: height, width px) as regions of the upright picture."""
    boxes, scores, features = (each.cpu().numpy() for each in found)
    ratio = np.array([picture.width / inner[1], picture.height / inner[0]] * 2, dtype=np.float32)
    limit = np.array([picture.width, picture.height] * 2, dtype=np.float32)
    return Regions(*with_whole(np.clip(boxes * ratio, 0, limit), scores, picture.width, picture.height), features)
