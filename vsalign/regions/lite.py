"""`lite` and `given`: one pass of EfficientNet-Lite0 over the whole picture; 20 fixed boxes, or those people bring."""

from __future__ import annotations

from pathlib import Path

from vsalign.regions.network import EfficientNetLite, default_weights
from vsalign.regions.placement import Placement
from vsalign.regions.pooled import PooledRegions, Pooling

INPUT_SIZE = 448
"""px: a last map of 14 x 14 cells."""


class Lite(PooledRegions):
    """Fixed boxes (`pooled.fixed_boxes`) over EfficientNet-Lite0's last map, (B, 1280, 14, 14) at 448 px.

    weights: a local file of its tensors; "": the package's. Raises MissingInputError, ModelError.
    """

    def __init__(
        self,
        weights: str = "",
        input_size: int = INPUT_SIZE,
        pooling: Pooling = "map",
        placement: Placement | None = None,
    ) -> None:
        super().__init__("lite", lite_network(weights), input_size, pooling, placement=placement)


class Given(PooledRegions):
    """Boxes that people bring (a COCO JSON of detections or annotations, or a regions table), `lite`'s features.

    Row 0 is the whole picture, then the given boxes by falling score, at most `top_k`.
    """

    def __init__(
        self,
        boxes: str,
        weights: str = "",
        input_size: int = INPUT_SIZE,
        top_k: int = 19,
        pooling: Pooling = "map",
        placement: Placement | None = None,
    ) -> None:
        super().__init__("given", lite_network(weights), input_size, pooling, boxes, top_k, placement)


def lite_network(weights: str = "") -> EfficientNetLite:
    """EfficientNet-Lite0 with the weights of a file, or with its package's."""
    return EfficientNetLite(Path(weights) if weights else default_weights())
