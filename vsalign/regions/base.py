"""What every region extractor is: pictures in, at most `1 + top_k` boxes with features out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from vsalign.errors import ConfigurationError, InputError, Reason

FLOAT16_MAX = 65504.0


@dataclass(frozen=True)
class Regions:
    """The regions of one picture; row 0 is the whole picture."""

    boxes: np.ndarray
    """(n, 4) float32, xyxy px of the upright picture."""
    scores: np.ndarray
    """(n,) float32, the detector's; 1 where boxes are fixed or given without one."""
    features: np.ndarray
    """(n, D) float32."""


@dataclass(frozen=True)
class Prepared:
    """A picture as its extractor wants it, made in a decoding thread."""

    image_id: str
    width: int
    height: int
    """px, of the upright picture."""
    pixels: torch.Tensor
    """(3, H', W') in the extractor's own size and type."""
    boxes: np.ndarray | None = None
    """(n, 4) float32 xyxy px, where they are known before the network runs."""
    scores: np.ndarray | None = None
    picture: np.ndarray | None = None
    """(h, w, 3) uint8, where boxes are cropped from it: the picture, made smaller where it was large."""


class RegionExtractor(ABC):
    """Boxes and their features (paper, section 3.1.1: the top 19 detections and the whole image)."""

    name: str
    dim: int
    """D, numbers a feature."""
    weights_sha256: str
    licence: str
    """The terms of its weights, as far as they are known."""
    runtime: Literal["torch", "onnxruntime"] = "torch"
    """What computes its network: one table keeps to one."""
    parallel = False
    """Whether `extract` may run in several threads at once, a batch in each."""
    least_side = 0
    """px of both sides from which on a smaller copy of a picture does; 0: it wants all of them."""

    def weights_bytes(self) -> int:
        """Bytes of its networks' weights in the memory of each process that loads it."""
        networks = nn.ModuleList(value for value in vars(self).values() if isinstance(value, nn.Module))
        return sum(tensor.nbytes for tensor in (*networks.parameters(), *networks.buffers()))

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What makes its features its own: name, dim, weights_sha256, and the options that change them."""

    @abstractmethod
    def prepare(self, image_id: str, image: np.ndarray, size: tuple[int, int] | None = None) -> Prepared:
        """From (H, W, 3) uint8 RGB, upright; thread-safe. Raises InputError where the picture has no usable boxes.

        size: the upright picture's own width and height, px, where `image` is a smaller copy of it (`least_side`).
        """

    @abstractmethod
    def extract(self, batch: list[Prepared]) -> list[Regions]:
        """The regions of each picture of a batch, in order; thread-safe where `parallel` says so."""

    def at(self, picture: Prepared, boxes: np.ndarray) -> Regions:
        """The features of boxes (n, 4) xyxy px of one picture, whatever it would find itself.

        Raises ConfigurationError where it cannot be told where to look.
        """
        raise ConfigurationError(f"the extractor {self.name} finds its own boxes: no other place can be asked for")


def whole_image(width: int, height: int) -> np.ndarray:
    """The (1, 4) box of the whole picture, px."""
    return np.array([[0, 0, width, height]], dtype=np.float32)


def to_float16(features: np.ndarray, uri: str) -> np.ndarray:
    """Features (n, D) as float16; raises InputError(NOT_FINITE) rather than write an inf or a NaN."""
    if not np.isfinite(features).all() or np.abs(features).max(initial=0) > FLOAT16_MAX:
        raise InputError(
            Reason.NOT_FINITE,
            f"{uri}: a region feature is not finite or beyond float16's {FLOAT16_MAX:.0f}",
            uri,
        )
    return features.astype("<f2")
