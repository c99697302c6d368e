"""The one-stage detectors of torchvision (RetinaNet, FCOS, SSD): their own detections, features of a backbone map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vsalign.regions.pooling import enough_samples, pool, pooling_matrix

Found = tuple[Tensor, Tensor, Tensor]
"""A picture's detections: boxes (n, 4) xyxy px of the resized picture, scores (n,), both by falling score; and the
features (1 + n, D), row 0 the whole picture's."""

MapShapes = dict[str, tuple[int, int, int]]
"""The (C, h, w) of a backbone's maps, by name, of a picture of a known size."""

LARGEST_STRIDE = 32
"""px of the resized picture by cell of the map that features are pooled from. The deeper maps say more of what is
seen; beyond this, a common box covers no cell of its own."""


class OneStage:
    """Detections by the model's own head and NMS; a feature is a box's average of one map of the backbone.

    model: torchvision's RetinaNet, FCOS or SSD; its thresholds and its transform are replaced. maps: the shapes
    (C, h, w) of its backbone's maps of a square picture of `side` px.
    """

    def __init__(self, model: Any, maps: MapShapes, side: int, top_k: int, nms: float, min_score: float) -> None:
        model.score_thresh, model.nms_thresh, model.detections_per_img = min_score, nms, top_k
        self.model, self.given = model, GivenImages()
        model.transform = self.given
        self.level = deepest(maps, side)
        self.dim = maps[self.level][0]

    def __call__(self, images: Any) -> list[Found]:
        """The detections of an ImageList: pictures (B, 3, H, W), padded, on the model's device."""
        maps: dict[str, Tensor] = {}
        self.given.images = images
        with self.model.backbone.register_forward_hook(lambda _module, _inputs, output: maps.update(output)):
            found = self.model(list(images.tensors))
        features = self._features(maps[self.level], images, [each["boxes"] for each in found])
        return [(each["boxes"], each["scores"], rows) for each, rows in zip(found, features, strict=True)]

    def _features(self, feature_map: Tensor, images: Any, boxes: list[Tensor]) -> list[Tensor]:
        """Of each picture, the averages (1 + n, D) of a map (B, D, h, w) over the whole picture and its boxes."""
        cells = (feature_map.shape[2], feature_map.shape[3])
        # The map covers the padding too, as the batch does, in whose px the boxes are.
        covered = torch.tensor([images.tensors.shape[3], images.tensors.shape[2]])
        matrices = []
        for own, (height, width) in zip(boxes, images.image_sizes, strict=True):
            together = torch.cat([torch.tensor([[0.0, 0.0, width, height]]), own.cpu()])
            matrices.append(pooling_matrix(together, covered, cells, enough_samples(max(cells))).to(feature_map.device))
        return pool(feature_map, matrices)


class GivenImages(nn.Module):
    """In place of a model's transform: pictures that are normalised, resized and padded already, and boxes that stay
    in the resized pictures' px."""

    images: Any = None
    """The ImageList that the model's next call is about, whatever it is called with."""

    def forward(self, _pictures: list[Tensor], targets: None = None) -> tuple[Any, None]:
        return self.images, targets

    def postprocess(self, result: Any, _sizes: list[tuple[int, int]], _original: list[tuple[int, int]]) -> Any:
        return result


def deepest(maps: MapShapes, side: int) -> str:
    """The name of the last map (C, h, w) whose cells are at most LARGEST_STRIDE px wide, in a picture of `side` px; the
    first map where none is."""
    fine = [name for name, (_, height, width) in maps.items() if side <= LARGEST_STRIDE * min(height, width)]
    return fine[-1] if fine else next(iter(maps))
