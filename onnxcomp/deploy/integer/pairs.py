"""Questions about QuantizeLinear and DequantizeLinear of activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs


@dataclass(frozen=True)
class Encoding:
    """How real numbers map to integers: ``integer = round(value / scale) + zero``, saturating.

    Attributes:
        scale: as a float32.
        zero: zero point.
        dtype: of the integers.
    """

    scale: np.float32
    zero: int
    dtype: np.dtype[np.uint8] | np.dtype[np.int8]

    @property
    def low(self) -> int:
        return int(np.iinfo(self.dtype).min)

    @property
    def high(self) -> int:
        return int(np.iinfo(self.dtype).max)

    def integer(self, value: np.float32) -> int:
        """What QuantizeLinear makes of ``value``: float32 division, half to even, saturating."""
        step = np.rint(np.float32(value) / self.scale) + np.float32(self.zero)
        return int(np.clip(step, self.low, self.high))


def encoding(node: gs.Node) -> Encoding | None:
    """That of a QuantizeLinear or DequantizeLinear; None where there is one for each channel."""
    scale, zero = node.inputs[1:3]
    if scale.values.size != 1:
        return None
    return Encoding(np.float32(scale.values.reshape(())), int(zero.values.reshape(())), zero.values.dtype)


def dequantizer(tensor: gs.Tensor) -> gs.Node | None:
    """The DequantizeLinear that gives ``tensor``."""
    node = tensor.inputs[0] if tensor.inputs else None
    return node if node is not None and node.op == "DequantizeLinear" else None


def quantizers(graph: gs.Graph, tensor: gs.Tensor) -> list[gs.Node]:
    """The nodes that read ``tensor``, if each of them is a QuantizeLinear of one and the same encoding."""
    readers = list(tensor.outputs)
    if not readers or any(tensor is output for output in graph.outputs):
        return []
    if any(node.op != "QuantizeLinear" for node in readers):
        return []
    encodings = {encoding(node) for node in readers}
    return readers if len(encodings) == 1 and None not in encodings else []
