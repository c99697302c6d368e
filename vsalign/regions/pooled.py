"""Regions whose features are averages of a CNN's last map (R-CNN made fast), or of a pass over each box.

map   the squashed picture goes through the network once, and each box averages the map's cells below it
crop  each box is cropped, warped to a square and goes through the network alone, as in the paper's section 3.1.1
both  the numbers of crop, then those of map: what the box looks like, and what stands around it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vsalign.regions.base import Prepared, RegionExtractor, Regions, whole_image
from vsalign.regions.network import EfficientNetLite, Network, resize
from vsalign.regions.onnx_maps import OnnxMaps
from vsalign.regions.placement import Placement
from vsalign.regions.pooling import enough_samples, pool, pooling_matrix

Pooling = Literal["map", "crop", "both"]
Found = tuple[np.ndarray, np.ndarray]
"""Boxes (n, 4) xyxy px of the upright picture, row 0 the whole of it, and their scores (n,)."""

CROP_SOURCE = 1024
"""px of the long side from which crops are taken, so that a batch of large photographs stays small in memory."""

CROPS_A_PASS = 64


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


class PooledRegions(RegionExtractor):
    """Fixed boxes, given ones, or (in a subclass) ones that are found in the network's maps.

    D is the network's, or twice that where both poolings stand side by side. boxes: what people bring
    (vsalign.regions.given.read_boxes), of which the `top_k` by score are taken; "": the 20 fixed ones. input_size: px,
    the side of the square that pictures are squashed to. Raises VsalignError where the boxes cannot be read.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        input_size: int,
        pooling: Pooling = "map",
        boxes: str = "",
        top_k: int = 19,
        placement: Placement | None = None,
    ) -> None:
        self.name, self.input_size, self.pooling, self.top_k = name, input_size, pooling, top_k
        self.placement = placement or Placement()
        self.network = self.placement.put(network)
        self.maps: Callable[[Tensor], list[Tensor]] = self.network.maps
        if self.placement.onnx and isinstance(network, EfficientNetLite):
            self.maps, self.runtime = OnnxMaps(network), "onnxruntime"
        self.parallel = self.placement.device.type == "cpu"
        self.dim = network.dim * (2 if pooling == "both" else 1)
        self.weights_sha256, self.licence = network.weights_sha256, network.licence
        self.cells = network.cells(input_size)
        # Twice what is needed: the rest of the way is resized with a filter, as without a smaller copy.
        self.least_side = 2 * max(input_size, 0 if pooling == "map" else CROP_SOURCE)
        self.given, self.boxes_sha256 = None, ""
        if boxes:
            from vsalign.regions.given import read_boxes

            self.given, self.boxes_sha256 = read_boxes(boxes)

    def identity(self) -> dict[str, Any]:
        facts = {
            "name": self.name,
            "dim": self.dim,
            "weights_sha256": self.weights_sha256,
            "input_size": self.input_size,
        }
        if self.given is not None:
            # The boxes are no part of it: a model trained on some boxes reads features of others of the same network.
            facts["top_k"] = self.top_k
        return facts if self.pooling == "map" else {**facts, "pooling": self.pooling}

    def prepare(self, image_id: str, image: np.ndarray, size: tuple[int, int] | None = None) -> Prepared:
        width, height = size or (image.shape[1], image.shape[0])
        boxes, scores = self.known(image_id, width, height) or (None, None)
        source = None
        if self.pooling != "map":
            smaller = Image.fromarray(image)
            smaller.thumbnail((CROP_SOURCE, CROP_SOURCE), Image.Resampling.BICUBIC, reducing_gap=2.0)
            source = np.asarray(smaller)
        return Prepared(image_id, width, height, resize(image, self.input_size), boxes, scores, source)

    def known(self, image_id: str, width: int, height: int) -> Found | None:
        """The boxes of a picture of that many px, where they are known before the network runs."""
        if self.given is None:
            size = np.array([width, height, width, height], dtype=np.float32)
            boxes = fixed_boxes() * size
            return boxes, np.ones(len(boxes), dtype=np.float32)
        boxes, scores = self.given.of(image_id, width, height)
        order = np.argsort(-scores, kind="stable")[: self.top_k]
        return with_whole(boxes[order], scores[order], width, height)

    def find(self, maps: Sequence[Tensor], batch: Sequence[Prepared]) -> list[Found]:
        """The boxes of each picture of a batch; maps: what the network's `maps` gives of it."""
        return [
            (picture.boxes, picture.scores)
            for picture in batch
            if picture.boxes is not None and picture.scores is not None
        ]

    @torch.inference_mode()
    def extract(self, batch: list[Prepared]) -> list[Regions]:
        maps = self.maps(self.placement.send([picture.pixels for picture in batch]))
        return self._pooled(maps, batch, self.find(maps, batch))

    @torch.inference_mode()
    def at(self, picture: Prepared, boxes: np.ndarray) -> Regions:
        maps = self.maps(self.placement.send([picture.pixels]))
        return self._pooled(maps, [picture], [(boxes, np.ones(len(boxes), np.float32))])[0]

    def _pooled(self, maps: Sequence[Tensor], batch: Sequence[Prepared], found: Sequence[Found]) -> list[Regions]:
        pooled = []
        if self.pooling != "map":
            pooled.append(self._crops(batch, found))
        if self.pooling != "crop":
            pooled.append(torch.cat(pool(self.network.head(maps[-1]).float(), self._matrices(batch, found))))
        together = torch.cat(pooled, 1).cpu().numpy()
        ends = np.cumsum([len(boxes) for boxes, _ in found])[:-1]
        return [
            Regions(boxes, scores, feature)
            for (boxes, scores), feature in zip(found, np.split(together, ends), strict=True)
        ]

    def _matrices(self, batch: Sequence[Prepared], found: Sequence[Found]) -> list[Tensor]:
        return [
            self._matrix(boxes, picture.width, picture.height) for picture, (boxes, _) in zip(batch, found, strict=True)
        ]

    def _matrix(self, boxes: np.ndarray, width: float, height: float) -> Tensor:
        size = torch.tensor([width, height])
        matrix = pooling_matrix(torch.from_numpy(boxes), size, self.cells, enough_samples(max(self.cells)))
        return matrix.to(self.placement.device, non_blocking=True)

    def _crops(self, batch: Sequence[Prepared], found: Sequence[Found]) -> Tensor:
        """The features of all pictures' boxes, one picture's after another's, each from a pass through the network."""
        crops = [
            crop
            for picture, (boxes, _) in zip(batch, found, strict=True)
            for crop in _cropped(picture, boxes, self.network.crop_side)
        ]
        passes = [
            self.network.head(self.maps(self.placement.send(crops[start : start + CROPS_A_PASS]))[-1])
            for start in range(0, len(crops), CROPS_A_PASS)
        ]
        return torch.cat([each.float().mean((2, 3)) for each in passes])


def with_whole(boxes: np.ndarray, scores: np.ndarray, width: int, height: int) -> Found:
    """Boxes (n, 4) and their scores behind the whole picture, whose score is 1."""
    return (
        np.concatenate([whole_image(width, height), boxes]),
        np.concatenate([np.ones(1, dtype=np.float32), scores.astype(np.float32, copy=False)]),
    )


def _cropped(picture: Prepared, boxes: np.ndarray, side: int) -> list[Tensor]:
    """Each box (n, 4) of the upright picture, warped to (3, side, side) uint8."""
    if picture.picture is None:
        raise TypeError("a picture whose boxes are cropped carries its pixels")
    source = Image.fromarray(picture.picture)
    scale = np.array([source.width / picture.width, source.height / picture.height] * 2)
    limit = np.array([source.width, source.height])
    crops = []
    for box in boxes * scale:
        low = np.minimum(box[:2], limit - 1)  # at least one pixel of the smaller picture
        high = np.minimum(np.maximum(box[2:], low + 1), limit)
        crop = source.resize((side, side), Image.Resampling.BICUBIC, (*low, *high), reducing_gap=2.0)
        crops.append(torch.from_numpy(np.array(crop)).permute(2, 0, 1))
    return crops
