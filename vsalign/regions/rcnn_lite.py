"""`rcnn-lite`: what a trained detector finds, with the features of `lite`'s network, in one pass over the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vsalign.errors import ConfigurationError
from vsalign.regions.base import Prepared, Regions, whole_image
from vsalign.regions.lite import Lite
from vsalign.regions.network import STRIDE, resize
from vsalign.regions.pooling import enough_samples, pool, pooling_matrix


class RcnnLite(Lite):
    """The whole picture and the detector's top boxes (paper, section 3.1.1), pooled from the last map: D = 1280.

    `weights` is the folder of a detector that `jobs.train_detector` made; the backbone's weights are `lite`'s own.
    Raises ConfigurationError, MissingInputError, ModelError.
    """

    name = "rcnn-lite"

    def __init__(self, weights: str, top_k: int = 19, nms: float = 0.5, min_score: float = 0.0) -> None:
        from vsalign.checkpoint import load_detector

        if not weights:
            raise ConfigurationError(
                "the rcnn-lite extractor needs --extractor.weights: the folder of a detector that python -m "
                "jobs.train_detector made"
            )
        loaded = load_detector(weights)
        self.detector = loaded.model.requires_grad_(False)
        super().__init__("", self.detector.config.input_size)
        self.detector_sha256 = loaded.weights_sha256
        self.top_k, self.nms, self.min_score = top_k, nms, min_score

    def identity(self) -> dict[str, Any]:
        options = {"top_k": self.top_k, "nms": self.nms, "min_score": self.min_score}
        return {**super().identity(), "detector_sha256": self.detector_sha256, **options}

    def prepare(self, image_id: str, image: np.ndarray) -> Prepared:
        height, width = image.shape[:2]
        return Prepared(image_id, width, height, resize(image, self.input_size))

    @torch.inference_mode()
    def extract(self, batch: list[Prepared]) -> list[Regions]:
        maps = self.network.maps(torch.stack([picture.pixels for picture in batch]))
        found = self.detector.detect(maps, self.top_k, self.nms, self.min_score)
        side, cells = float(self.input_size), self.input_size // STRIDE
        whole = torch.tensor([[0.0, 0.0, side, side]])
        square = torch.tensor([side, side])
        matrices = [
            pooling_matrix(torch.cat([whole, boxes]), square, (cells, cells), enough_samples(cells))
            for boxes, _ in found
        ]
        features = pool(self.network.head(maps[-1]), matrices)
        return [
            Regions(_upright(picture, boxes.numpy() / side), _scores(scores), feature.numpy())
            for picture, (boxes, scores), feature in zip(batch, found, features, strict=True)
        ]


def _upright(picture: Prepared, shares: np.ndarray) -> np.ndarray:
    """The whole picture and boxes (n, 4) given as shares of its sides, in px of the upright picture."""
    limit = np.array([picture.width, picture.height] * 2, dtype=np.float32)
    return np.concatenate([whole_image(picture.width, picture.height), np.clip(shares * limit, 0, limit)])


def _scores(scores: torch.Tensor) -> np.ndarray:
    return np.concatenate([np.ones(1, dtype=np.float32), scores.numpy()])
