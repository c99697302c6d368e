"""Any backbone of timm as a feature map, for the extractor `timm:<name>`, or as maps for a detector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vsalign.errors import ConfigurationError, MissingInputError, ModelError
from vsalign.options import closest
from vsalign.regions.network import CROP_SIDE, Network, load_tensors, tensors_sha256

PRETRAINED = "pretrained"
"""In place of a weights file: the weights that timm downloads for the name."""

STRIDES = (8, 16, 32)
"""px of a cell's side in the maps that a detector reads."""


class TimmNetwork(Network):
    """The last features of a timm model: a CNN's map, or a transformer's tokens put back on their grid.

    name: as timm.list_models gives it, perhaps with a tag of its weights (resnet50.a1_in1k). weights: a local state
    dict of the whole model (its classifier is left out), its tensors, or PRETRAINED. side: px of the square pictures;
    0: the model's own. Raises ConfigurationError, MissingInputError, ModelError.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str | Mapping[str, Tensor], side: int = 0) -> None:
        super().__init__()
        if not weights:
            raise ConfigurationError(
                f"timm:{name} needs --extractor.weights: a local state dict, or {PRETRAINED}, which timm downloads"
            )
        self.model = _model(name, weights == PRETRAINED)
        facts = self.model.pretrained_cfg
        if isinstance(weights, Mapping):
            _load(self.model, weights, f"the model that goes with timm:{name}", name)
        elif weights != PRETRAINED:
            _load(self.model, load_tensors(Path(weights)), weights, name)
        state = {key: value for key, value in self.model.state_dict().items() if not _is_counter(key)}
        self.weights_sha256 = tensors_sha256(state)
        own = facts.get("license") or "unknown to timm"
        self.licence = f"{own} (as timm says)" if weights == PRETRAINED else "the terms of the weights file"
        self.side = side or facts["input_size"][-1]
        self.crop_side = self.side if facts["fixed_input_size"] else CROP_SIDE
        for kind in ("mean", "std"):
            self.register_buffer(kind, torch.tensor(facts[kind]).view(3, 1, 1) * 255, persistent=False)
        self.eval()
        try:
            with torch.inference_mode():
                found = self.maps(torch.zeros((1, 3, self.side, self.side), dtype=torch.uint8))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ConfigurationError(
                f"timm:{name} takes no picture of {self.side} x {self.side} px ({str(error).splitlines()[0]}): give "
                "its own (--extractor.input-size, 0 for the model's; a detector's --model.input-size)"
            ) from error
        self.shapes = [(each.shape[1], each.shape[2], each.shape[3]) for each in found]
        self.dim, self._cells = self.shapes[-1][0], self.shapes[-1][1:]

    def cells(self, side: int) -> tuple[int, int]:
        return self._cells if side == self.side else (side * self._cells[0] // self.side,) * 2

    def maps(self, pixels: Tensor) -> list[Tensor]:
        return [self._on_grid(self.model.forward_features(self._normalised(pixels)))]

    def _normalised(self, pixels: Tensor) -> Tensor:
        # In float32: a short type would round the picture's own values.
        exact = (pixels.to(torch.float32, memory_format=torch.channels_last) - self.mean.float()) / self.std.float()
        return exact.to(self.dtype)

    def _on_grid(self, found: Tensor) -> Tensor:
        """Features as (B, D, H', W'), from (B, D, H', W'), (B, H', W', D) or tokens (B, prefix + H' W', D)."""
        if found.ndim == 4:
            return found if getattr(self.model, "output_fmt", "NCHW") == "NCHW" else found.permute(0, 3, 1, 2)
        tokens = found[:, getattr(self.model, "num_prefix_tokens", 0) :]
        rows = round(tokens.shape[1] ** 0.5)
        if rows * rows != tokens.shape[1]:
            raise ValueError(f"its {tokens.shape[1]} tokens are no square grid")
        return tokens.transpose(1, 2).reshape(len(tokens), -1, rows, rows)


class TimmMaps(TimmNetwork):
    """A timm model's maps at STRIDES, of pictures of `side` px: two on the way, and the last features.

    Raises ConfigurationError where the model has no such maps.
    """

    def __init__(self, name: str, weights: str | Mapping[str, Tensor], side: int) -> None:
        super().__init__(name, weights, side)
        if [shape[1:] for shape in self.shapes] != [(side // stride, side // stride) for stride in STRIDES]:
            raise ConfigurationError(_no_maps(name))
        at8, at16, at32 = (shape[0] for shape in self.shapes)
        self.channels = (at8, at16, at32)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """(B, C, H / stride, W / stride) for each C of `channels`, the last as `TimmNetwork` gives it."""
        last, passed = self.model.forward_intermediates(
            self._normalised(pixels), indices=self._stages(), output_fmt="NCHW"
        )
        return [*passed, self._on_grid(last)]

    def _stages(self) -> list[int]:
        """The last of the model's stages at each stride but the last."""
        reductions = [stage["reduction"] for stage in getattr(self.model, "feature_info", [])]
        if not hasattr(self.model, "forward_intermediates") or not {*STRIDES} <= {*reductions}:
            raise ConfigurationError(_no_maps(self.model.pretrained_cfg["architecture"]))
        return [len(reductions) - 1 - reductions[::-1].index(stride) for stride in STRIDES[:-1]]


def _no_maps(name: str) -> str:
    return (
        f"timm:{name} has no maps at strides {', '.join(map(str, STRIDES))} px, which a detector reads: take a CNN "
        "such as timm:resnet18 (as the extractor timm:NAME it works)"
    )


def _model(name: str, pretrained: bool) -> Any:
    import timm

    if not timm.is_model(name.partition(".")[0]):
        near = closest(name, timm.list_models())
        raise ConfigurationError(
            f"timm has no model {name!r}; " + (f"did you mean {near}?" if near else "see timm.list_models()")
        )
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        if not pretrained:
            raise ConfigurationError(f"timm:{name} cannot be made: {str(error).splitlines()[0]}") from error
        raise MissingInputError(
            f"the weights of timm:{name} cannot be downloaded ({str(error).splitlines()[0]}): name a local copy with "
            "--extractor.weights"
        ) from error


def _load(model: Any, given: Mapping[str, Tensor], source: str, name: str) -> None:
    """The given tensors into the model; of the classifier, which is left out, alone there may be more."""
    classifier = model.pretrained_cfg.get("classifier") or ()
    parts = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    own = {key: value for key, value in given.items() if not key.startswith(tuple(f"{part}." for part in parts))}
    expected = {key: value for key, value in model.state_dict().items() if not _is_counter(key)}
    odd = sorted(expected.keys() - own.keys()) or sorted(own.keys() - model.state_dict().keys())
    odd = odd or [key for key, value in expected.items() if value.shape != own[key].shape]
    if odd:
        raise ModelError(
            f"{source} holds no weights of timm's {name}: {odd[0]} is missing, unknown or of another shape"
        )
    model.load_state_dict(own, strict=False)


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")
