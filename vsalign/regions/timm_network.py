"""Any backbone of timm as a feature map, for the extractor `timm:<name>`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vsalign.errors import ConfigurationError, MissingInputError, ModelError
from vsalign.options import closest
from vsalign.regions.network import CROP_SIDE, Network, load_tensors, tensors_sha256

PRETRAINED = "pretrained"
"""In place of a weights file: the weights that timm downloads for the name."""


class TimmNetwork(Network):
    """The last features of a timm model: a CNN's map, or a transformer's tokens put back on their grid.

    name: as timm.list_models gives it, perhaps with a tag of its weights (resnet50.a1_in1k). weights: a local state
    dict of the whole model (its classifier is left out), or PRETRAINED. side: px of the square pictures; 0: the
    model's own. Raises ConfigurationError, MissingInputError, ModelError.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str, side: int = 0) -> None:
        super().__init__()
        if not weights:
            raise ConfigurationError(
                f"timm:{name} needs --extractor.weights: a local state dict, or {PRETRAINED}, which timm downloads"
            )
        self.model = _model(name, weights == PRETRAINED)
        facts = self.model.pretrained_cfg
        if weights != PRETRAINED:
            _load(self.model, Path(weights), name)
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
                last = self.maps(torch.zeros((1, 3, self.side, self.side), dtype=torch.uint8))[-1]
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ConfigurationError(
                f"timm:{name} takes no picture of {self.side} x {self.side} px ({str(error).splitlines()[0]}): give "
                "its own --extractor.input-size, or 0"
            ) from error
        self.dim, self._cells = last.shape[1], (last.shape[2], last.shape[3])

    def cells(self, side: int) -> tuple[int, int]:
        return self._cells if side == self.side else (side * self._cells[0] // self.side,) * 2

    def maps(self, pixels: Tensor) -> list[Tensor]:
        # Normalised in float32: a short type would round the picture's own values.
        exact = (pixels.to(torch.float32, memory_format=torch.channels_last) - self.mean.float()) / self.std.float()
        return [self._on_grid(self.model.forward_features(exact.to(self.dtype)))]

    def _on_grid(self, found: Tensor) -> Tensor:
        """Features as (B, D, H', W'), from (B, D, H', W'), (B, H', W', D) or tokens (B, prefix + H' W', D)."""
        if found.ndim == 4:
            return found if getattr(self.model, "output_fmt", "NCHW") == "NCHW" else found.permute(0, 3, 1, 2)
        tokens = found[:, getattr(self.model, "num_prefix_tokens", 0) :]
        rows = round(tokens.shape[1] ** 0.5)
        if rows * rows != tokens.shape[1]:
            raise ValueError(f"its {tokens.shape[1]} tokens are no square grid")
        return tokens.transpose(1, 2).reshape(len(tokens), -1, rows, rows)


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


def _load(model: Any, weights: Path, name: str) -> None:
    """The file's tensors into the model; of the classifier, which is left out, alone it may hold more."""
    given = load_tensors(weights)
    classifier = model.pretrained_cfg.get("classifier") or ()
    parts = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    own = {key: value for key, value in given.items() if not key.startswith(tuple(f"{part}." for part in parts))}
    expected = {key: value for key, value in model.state_dict().items() if not _is_counter(key)}
    odd = sorted(expected.keys() - own.keys()) or sorted(own.keys() - model.state_dict().keys())
    odd = odd or [key for key, value in expected.items() if value.shape != own[key].shape]
    if odd:
        raise ModelError(
            f"{weights} holds no weights of timm's {name}: {odd[0]} is missing, unknown or of another shape"
        )
    model.load_state_dict(own, strict=False)


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")
