"""torchvision's detection models: found by name, built around a state dict, and set to an input size."""

from __future__ import annotations

import inspect
import pickle
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vsalign.errors import ConfigurationError, MissingInputError, ModelError
from vsalign.options import closest
from vsalign.regions.network import load_tensors
from vsalign.regions.placement import Placement

DEFAULT_MODEL = "fasterrcnn_resnet50_fpn"

SMALLEST_INPUT = 64
"""px; less leaves the deepest map, of stride 32, hardly a cell."""

COMMON_RATIO = Fraction(5, 3)
"""The limit of the long side by the short side, of nearly all the models: 1333 = 800 x 5 / 3, rounded."""

FAULT_LENGTH = 200
"""Characters of torch's list of what does not fit: it can name every tensor of a model."""

TORCHVISION_LICENCE = "BSD-3-Clause (torchvision), trained on COCO, whose photographs have terms of their own"
FILE_LICENCE = "the terms of the weights file and its training data"


@dataclass(frozen=True)
class DetectionModel:
    """A detection model with its weights, on the CPU, float32, frozen."""

    network: Any
    """torchvision's module: transform, backbone, and what is its family's own."""
    state: dict[str, Tensor]
    """The tensors as they were loaded."""
    licence: str


def detection_model(name: str, weights: str) -> DetectionModel:
    """The model of a torchvision function's name, with the weights of a file or a download.

    weights: a local state dict, or the name of one of the model's own weights (COCO_V1, DEFAULT). Raises
    ConfigurationError for a name that torchvision does not have, MissingInputError where the weights cannot be had,
    ModelError where they do not fit the model.
    """
    _known(name)
    if not weights:
        raise ConfigurationError(
            f"the torchvision extractor needs --extractor.weights: a local state dict of {name}, or "
            f"{' or '.join(_downloads(name))} to download torchvision's own"
        )
    state, licence = _state(name, weights)
    return DetectionModel(_network(name, state), state, licence)


def model_names() -> list[str]:
    """The names of torchvision's detection models."""
    from torchvision.models import detection, list_models

    return list(list_models(module=detection))


def set_input_size(network: Any, name: str, input_size: int) -> int:
    """Let the model's transform resize pictures to a short side of `input_size` px; 0: its own. Returns the size.

    Raises ConfigurationError where the model has one fixed size, and for less than SMALLEST_INPUT px.
    """
    transform = network.transform
    own, limit = transform.min_size[-1], transform.max_size
    if input_size in (0, own):
        transform.min_size = (own,)
        return int(own)
    if transform.fixed_size:
        raise ConfigurationError(
            f"--extractor.input-size {input_size}: {name} squashes every picture to {own} x {own} px, and takes no "
            "other size"
        )
    if input_size < SMALLEST_INPUT:
        raise ConfigurationError(f"--extractor.input-size {input_size}: give {name} at least {SMALLEST_INPUT} px")
    common = limit == round(own * COMMON_RATIO)
    transform.min_size = (input_size,)
    transform.max_size = round(input_size * (COMMON_RATIO if common else Fraction(limit, own)))
    return input_size


def place(network: Any, placement: Placement) -> None:
    """Move the model to the placement's device, its backbone into the placement's numbers; the rest stays float32,
    since the digits of boxes and scores matter and the backbone is most of the work."""
    network.to(placement.device)
    if placement.dtype != torch.float32:
        network.backbone = ShortenedBackbone(network.backbone, placement)


class ShortenedBackbone(nn.Module):
    """A backbone that computes in 16 bits: float32 pictures (B, 3, H, W) in, float32 maps (B, C, h, w) by name out."""

    def __init__(self, backbone: nn.Module, placement: Placement) -> None:
        super().__init__()
        self.backbone, self.dtype = placement.put(backbone), placement.dtype

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        maps = self.backbone(pictures.to(self.dtype, memory_format=torch.channels_last))
        return {name: each.float().contiguous() for name, each in maps.items()}


def image_list(transform: Any, pictures: list[Tensor], device: torch.device) -> Any:
    """What torchvision's transform makes of pictures (3, h, w) that it has normalised and resized already: a batch on
    the device, padded to one size, that remembers each picture's own."""
    from torchvision.models.detection.image_list import ImageList

    batch = transform.batch_images(pictures, size_divisible=transform.size_divisible)
    if device.type != "cpu":
        batch = batch.pin_memory().to(device, non_blocking=True)
    return ImageList(batch, [(picture.shape[1], picture.shape[2]) for picture in pictures])


def padded(pixels: Tensor, divisible: int) -> tuple[int, int]:
    """The height and width, px, to which a batch of pictures like (3, h, w) is padded."""
    height, width = (-(-side // divisible) * divisible for side in pixels.shape[1:])
    return height, width


def _known(name: str) -> None:
    names = model_names()
    if name in names:
        return
    near = closest(name, names)
    remedy = f"did you mean {near}?" if near else f"choose one of {', '.join(names)}"
    raise ConfigurationError(f"torchvision has no detection model {name!r}: {remedy}")


def _downloads(name: str) -> dict[str, Any]:
    """The model's own weights by name, aliases included."""
    from torchvision.models import get_model_weights

    return dict(get_model_weights(name).__members__)


def _state(name: str, weights: str) -> tuple[dict[str, Tensor], str]:
    """The tensors that `weights` names, and their terms."""
    downloads, path = _downloads(name), Path(weights)
    if weights not in downloads:
        if not path.exists() and path.name == weights and not path.suffix:
            raise ConfigurationError(
                f"there is no file {weights}, and torchvision has no weights of that name for {name}: it has "
                f"{', '.join(downloads)}"
            )
        return load_tensors(path), FILE_LICENCE
    try:
        state = downloads[weights].get_state_dict(
            progress=False, check_hash=True, weights_only=True, map_location="cpu"
        )
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        # no network; or what came is not what torchvision's name for it says
        raise MissingInputError(
            f"the weights {weights} of {name} cannot be downloaded ({_first_line(error)}): name a local copy with "
            "--extractor.weights"
        ) from error
    return dict(state), TORCHVISION_LICENCE


def _network(name: str, state: dict[str, Tensor]) -> Any:
    """The model, evaluating and frozen, around the tensors of `state`; raises ModelError where they do not fit."""
    try:
        network = _without_storage(name, **_counts(name, state))
        # Its parameters have shapes and no numbers yet; they become the state's own tensors.
        network.load_state_dict(state, assign=True)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise ModelError(f"the weights are no state dict of torchvision's {name}: {_fault(error)}") from error
    return network.float().eval().requires_grad_(False)


def _counts(name: str, state: dict[str, Tensor]) -> dict[str, int]:
    """num_classes, and num_keypoints of a model that has any, read from the shapes in `state`.

    The heads' names differ between models. So the model is built for two counts, without storage: the tensors whose
    shapes differ are those that tell. Raises KeyError or ValueError where they are absent or tell no count.
    """
    from torchvision.models import get_model_builder

    parameters = inspect.signature(get_model_builder(name)).parameters
    return {option: _count(name, option, state) for option in ("num_classes", "num_keypoints") if option in parameters}


def _count(model: str, option: str, state: dict[str, Tensor]) -> int:
    """The value of a model's option for which it has the shapes of `state`; a side grows with it linearly."""
    two, three = (_without_storage(model, **{option: number}).state_dict() for number in (2, 3))
    name, side = next(
        (name, side)
        for name, tensor in two.items()
        for side in range(tensor.dim())
        if tensor.shape[side] != three[name].shape[side]
    )
    step = three[name].shape[side] - two[name].shape[side]
    count, rest = divmod(state[name].shape[side] - two[name].shape[side] + 2 * step, step)
    if rest or count < 1:
        raise ValueError(f"{name} has the shape {tuple(state[name].shape)}, which is that of no number of outputs")
    return count


def _without_storage(name: str, **counts: int) -> Any:
    """The model with tensors that have shapes alone: made in a moment, where random numbers would cost seconds."""
    from torchvision.models import get_model

    with torch.device("meta"):
        return get_model(name, weights=None, weights_backbone=None, **counts)


def map_shapes(name: str, side: int) -> dict[str, tuple[int, int, int]]:
    """The shapes (C, h, w) of the backbone's maps of a picture of `side` x `side` px, without computing them."""
    shapes = _without_storage(name).eval().backbone(torch.empty(1, 3, side, side, device="meta"))
    return {key: tuple(each.shape[1:]) for key, each in shapes.items()}


def _fault(error: Exception) -> str:
    """What does not fit, on one line: of torch's report, the first fault below its heading."""
    if isinstance(error, KeyError):
        return f"it has no tensor {error.args[0]}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    fault = lines[min(1, len(lines) - 1)] if lines else type(error).__name__
    return fault if len(fault) <= FAULT_LENGTH else fault[:FAULT_LENGTH] + "…"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
