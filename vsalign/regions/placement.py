"""Where an extractor's networks run, by what, and in which numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from vsalign.errors import ConfigurationError
from vsalign.regions import onnx_maps

DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]
Runtime = Literal["auto", "torch", "onnxruntime"]
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Placement:
    """A device, and the numbers that a backbone computes in; what comes out of it is float32 again."""

    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    onnx: bool = False
    """Whether ONNX Runtime computes what it can (`onnx_maps`)."""

    @classmethod
    def of(cls, device: DeviceName = "auto", precision: Precision = "float32", runtime: Runtime = "torch") -> Placement:
        """`auto` is the first CUDA device, or the CPU where there is none; and ONNX Runtime where it is installed.

        Raises ConfigurationError for cuda without a device, for float16 on a CPU, and for ONNX Runtime on a GPU or
        where it is not installed.
        """
        found = torch.cuda.is_available()
        if device == "cuda" and not found:
            raise ConfigurationError("--extractor.device cuda: torch sees no CUDA device here; use auto or cpu")
        kind = "cuda" if found and device != "cpu" else "cpu"
        if kind == "cpu" and precision != "float32":
            raise ConfigurationError(
                f"--extractor.precision {precision} is for a GPU: on a CPU it is many times slower; use float32"
            )
        if kind == "cuda":
            # float32 is float32: the tensor cores' shortened one would be off by far more than float16's last digit.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        if runtime == "onnxruntime" and kind == "cuda":
            raise ConfigurationError(
                "--extractor.runtime onnxruntime is for CPUs (a machine without a GPU chooses it for all): add "
                "--extractor.runtime torch, or --extractor.device cpu"
            )
        if runtime == "onnxruntime" and not onnx_maps.installed():
            raise ConfigurationError(
                "--extractor.runtime onnxruntime: it is not installed here; pip install 'vsalign[onnx]', or use torch"
            )
        onnx = runtime == "onnxruntime" or (runtime == "auto" and kind == "cpu" and onnx_maps.installed())
        return cls(torch.device(kind), getattr(torch, precision), onnx)

    def put(self, module: Module) -> Module:
        """The module, frozen, in channels_last (on a CPU 1.5 x faster than NCHW), its weights on the device."""
        module.requires_grad_(False)
        module.eval().to(self.device, self.dtype)
        return module.to(memory_format=torch.channels_last)

    def send(self, tensors: Sequence[Tensor]) -> Tensor:
        """Equal tensors of a batch as one on the device, by pinned memory where that is a GPU."""
        batch = torch.stack(list(tensors))
        if self.device.type == "cpu":
            return batch
        return batch.pin_memory().to(self.device, non_blocking=True)
