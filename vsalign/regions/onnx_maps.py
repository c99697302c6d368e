"""EfficientNet-Lite0's maps by ONNX Runtime, which is faster on a CPU than torch."""

from __future__ import annotations

import importlib.util
import threading
from operator import add
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from vsalign.regions.network import MAP_BLOCKS, EfficientNetLite

PACKAGES = ("onnx", "onnxruntime")
OPSET, IR_VERSION = 17, 8
"""Old enough for every release of ONNX Runtime that the extra `onnx` takes."""
PICTURES_AT_ONCE = 4
"""Of a batch: as fast as 16 at once (36.2 and 36.4 images/s, rcnn-lite on two cores) in a quarter of the memory."""


def installed() -> bool:
    """Whether ONNX Runtime can be used here (the extra `onnx`)."""
    return all(importlib.util.find_spec(name) for name in PACKAGES)


class OnnxMaps:
    """`EfficientNetLite.maps` of a network on the CPU, equal to torch's but for the last digits of float32.

    Sessions are made on first use, one a number of threads (torch's own at that time); calls are thread-safe.
    """

    def __init__(self, network: EfficientNetLite) -> None:
        self._model = onnx_model(network)
        self._sessions: dict[int, Any] = {}
        self._making = threading.Lock()

    def __call__(self, pixels: Tensor) -> list[Tensor]:
        """Maps (B, C, H / stride, W / stride) of pictures (B, 3, H, W) uint8 RGB."""
        session = self._session(torch.get_num_threads())
        parts = [session.run(None, {"pixels": few.numpy()}) for few in pixels.split(PICTURES_AT_ONCE)]
        return [torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True)]

    def _session(self, threads: int) -> Any:
        with self._making:
            if threads not in self._sessions:
                import onnxruntime

                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
                # Its threads would wait by spinning, on the cores that torch and the decoding threads need.
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
                self._sessions[threads] = onnxruntime.InferenceSession(
                    self._model, options, providers=["CPUExecutionProvider"]
                )
            return self._sessions[threads]


def onnx_model(network: EfficientNetLite) -> bytes:
    """The network as an ONNX model `pixels` (B, 3, H, W) uint8 -> its maps, for any B, H and W.

    Written operation by operation, since torch's exporter takes seconds, in each process anew. Raises
    NotImplementedError at a module that EfficientNet-Lite does not have.
    """
    from onnx import TensorProto, checker, helper

    graph = _Graph()
    x = graph.node("Cast", ["pixels"], to=TensorProto.FLOAT)
    x = graph.node("Div", [x, graph.constant(np.float32(127.5))])
    x = graph.node("Sub", [x, graph.constant(np.float32(1))])
    x = graph.module(network.stem, x)
    outputs = []
    for number, block in enumerate(network.blocks):
        x = graph.module(block, x)
        if number in MAP_BLOCKS:
            outputs.append(x)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "maps",
            [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 3, "height", "width"])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    checker.check_model(model)
    return bytes(model.SerializeToString())


class _Tracer(fx.Tracer):
    """Stops at convolutions, timm's padded ones among them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


class _Graph:
    """ONNX nodes and constants, in the order of the computation."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, operation: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        name = f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        return name

    def constant(self, values: np.ndarray | np.float32) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def module(self, module: nn.Module, x: str) -> str:
        """The nodes of a module of convolutions, ReLU6 and sums; returns its output's name."""
        names: dict[fx.Node, str] = {}
        for node in _Tracer().trace(module).nodes:
            inputs = [names[each] for each in node.all_input_nodes]
            if node.op == "placeholder":
                names[node] = x
            elif node.op == "output":
                return inputs[0]
            elif node.op == "call_module":
                names[node] = self.layer(module.get_submodule(str(node.target)), inputs[0])
            elif node.op == "call_function" and node.target is add:
                names[node] = self.node("Add", inputs)
            else:
                raise NotImplementedError(f"{node.op} {node.target} has no place in an EfficientNet-Lite")
        raise NotImplementedError("a module without an output")

    def layer(self, layer: nn.Module, x: str) -> str:
        """One convolution or activation."""
        if isinstance(layer, nn.Identity | nn.Dropout):
            return x
        if isinstance(layer, nn.ReLU6):
            return self.node("Clip", [x, self.constant(np.float32(0)), self.constant(np.float32(6))])
        if not isinstance(layer, nn.Conv2d):
            raise NotImplementedError(f"{type(layer).__name__} has no place in an EfficientNet-Lite")
        inputs = [x, self.constant(layer.weight.detach().numpy())]
        if layer.bias is not None:
            inputs.append(self.constant(layer.bias.detach().numpy()))
        return self.node(
            "Conv", inputs, strides=[*layer.stride], dilations=[*layer.dilation], group=layer.groups, **_padding(layer)
        )


def _padding(layer: nn.Conv2d) -> dict[str, Any]:
    """TensorFlow's padding, which hangs on the size (timm's Conv2dSame), has a name in ONNX."""
    if type(layer).__name__ == "Conv2dSame":
        return {"auto_pad": "SAME_UPPER"}
    if type(layer) is not nn.Conv2d or isinstance(layer.padding, str):
        raise NotImplementedError(f"{type(layer).__name__} with padding {layer.padding}")
    return {"pads": [*layer.padding, *layer.padding]}
