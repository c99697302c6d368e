"""`lite`: one pass of a small CNN over the whole picture, and 20 fixed boxes pooled from its feature map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from vsalign.regions.base import Prepared, RegionExtractor, Regions, whole_image
from vsalign.regions.network import DIM, STRIDE, EfficientNetLite, default_weights, file_sha256, resize
from vsalign.regions.pooling import enough_samples, pool, pooling_matrix


def fixed_boxes() -> np.ndarray:
    """(20, 4) float32 xyxy as shares of the side: the whole picture and 19 boxes of four shapes that cover it.

    A guess, not tuned on any annotation: 3 x 3 of half a side, 2 x 2 of two thirds, and thirds of height and width.
    """
    boxes = [(0.0, 0.0, 1.0, 1.0)]
    boxes += [(x, y, x + 0.5, y + 0.5) for y in (0, 0.25, 0.5) for x in (0, 0.25, 0.5)]
    boxes += [(x, y, x + 2 / 3, y + 2 / 3) for y in (0, 1 / 3) for x in (0, 1 / 3)]
    boxes += [(x, 0.0, x + 1 / 3, 1.0) for x in (0, 1 / 3, 2 / 3)]
    boxes += [(0.0, y, 1.0, y + 1 / 3) for y in (0, 1 / 3, 2 / 3)]
    return np.array(boxes, dtype=np.float32)


class Lite(RegionExtractor):
    """Fixed boxes over EfficientNet-Lite0's last feature map, (B, 1280, 14, 14) at 448 px."""

    name = "lite"
    dim = DIM

    def __init__(self, weights: str = "", input_size: int = 448) -> None:
        path = Path(weights) if weights else default_weights()
        self.input_size = input_size
        self.weights_sha256 = file_sha256(path)
        self.network = EfficientNetLite(path)

    def identity(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dim": self.dim,
            "weights_sha256": self.weights_sha256,
            "input_size": self.input_size,
        }

    def prepare(self, image_id: str, image: np.ndarray) -> Prepared:
        height, width = image.shape[:2]
        size = np.array([width, height, width, height], dtype=np.float32)
        boxes = fixed_boxes() * size
        scores = np.ones(len(boxes), dtype=np.float32)
        return Prepared(image_id, width, height, resize(image, self.input_size), boxes, scores)

    @torch.inference_mode()
    def extract(self, batch: list[Prepared]) -> list[Regions]:
        feature_map = self.network(torch.stack([picture.pixels for picture in batch]))
        features = pool(feature_map, self._weights(batch))
        return [
            Regions(_known(picture.boxes), _known(picture.scores), feature.numpy())
            for picture, feature in zip(batch, features, strict=True)
        ]

    def _weights(self, batch: list[Prepared]) -> list[torch.Tensor]:
        cells = self.input_size // STRIDE
        matrix = pooling_matrix(torch.from_numpy(fixed_boxes()), torch.ones(2), (cells, cells), enough_samples(cells))
        return [matrix] * len(batch)


def _known(values: np.ndarray | None) -> np.ndarray:
    if values is None:
        raise TypeError("a prepared picture of this extractor carries its boxes")
    return values


class Given(Lite):
    """Boxes that people bring (a COCO JSON of detections or annotations, or a regions table), `lite`'s features.

    Row 0 is the whole picture, then the given boxes by falling score, at most `top_k`.
    """

    name = "given"

    def __init__(self, boxes: str, weights: str = "", input_size: int = 448, top_k: int = 19) -> None:
        from vsalign.regions.given import read_boxes

        super().__init__(weights, input_size)
        self.boxes, self.boxes_sha256 = read_boxes(boxes)
        self.top_k = top_k

    def identity(self) -> dict[str, Any]:
        # The boxes are no part of it: a model trained on some boxes reads features of others of the same network.
        return {**super().identity(), "top_k": self.top_k}

    def prepare(self, image_id: str, image: np.ndarray) -> Prepared:
        height, width = image.shape[:2]
        boxes, scores = self.boxes.of(image_id, width, height)
        order = np.argsort(-scores, kind="stable")[: self.top_k]
        boxes = np.concatenate([whole_image(width, height), boxes[order]])
        scores = np.concatenate([np.ones(1, dtype=np.float32), scores[order]])
        return Prepared(image_id, width, height, resize(image, self.input_size), boxes, scores)

    def _weights(self, batch: list[Prepared]) -> list[torch.Tensor]:
        cells = self.input_size // STRIDE
        return [
            pooling_matrix(
                torch.from_numpy(_known(picture.boxes)),
                torch.tensor([picture.width, picture.height]),
                (cells, cells),
                enough_samples(cells),
            )
            for picture in batch
        ]
