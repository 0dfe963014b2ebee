"""In which type TensorRT computes each layer, and in which the tensors between lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxcomp.deploy.estimate.fusing import BORDERS, FREE, PRODUCTS, Fused
from onnxcomp.deploy.lint import pairs
from onnxcomp.deploy.lint.network import Network, name_of, producer


@dataclass(frozen=True)
class Types:
    """In which type layers compute and tensors lie.

    Attributes:
        network: the file.
        float_type: FP16, or FP32 where the target's types are strong or FP16 was not allowed.
        scales: of a DLA's calibration cache, by tensor; None for a network with Q/DQ.
        floats: names of layers that are to run in FP16 on a DLA.
    """

    network: Network
    float_type: str
    scales: Mapping[str, float] | None = None
    floats: frozenset[str] = frozenset()

    def layer(self, fused: Fused) -> tuple[str, str]:
        """Its type, and why it is not INT8."""
        if self.scales is not None:
            return self._calibrated(fused, self.scales)
        main = main_node(fused)
        if main.op in PRODUCTS:
            weight = next((i for i in (1, 0) if pairs.is_constant(main.inputs[i])), None)
            if weight is None:
                inputs = main.inputs[:2]
            else:
                inputs = [main.inputs[1 - weight]]
                if pairs.dequantizer(main.inputs[weight]) is None:
                    return self.float_type, "its weight has no Q/DQ"
            quantised = all(pairs.given_quantized(tensor) for tensor in inputs)
            return ("INT8", "") if quantised else (self.float_type, "what it reads has no Q/DQ")
        if not all(pairs.given_quantized(tensor) for tensor in fused.inputs()):
            return self.float_type, "what it reads has no Q/DQ"
        if fused.kind == "concat" or self.stored(fused.output) == "INT8":
            return "INT8", ""
        return self.float_type, "what it gives has no Q/DQ"

    def stored(self, tensor: gs.Tensor) -> str:
        """The type in which a tensor lies between two layers."""
        if producer(tensor) is None:  # given to the network, as its file says
            return "FP32"
        if self.scales is not None:
            return "INT8" if root(tensor).name in self.scales else self.float_type
        if pairs.given_quantized(tensor) or pairs.read_quantized(self.network, tensor, tuple(FREE)):
            return "INT8"
        return "FP32" if self.network.is_output(tensor) else self.float_type

    def _calibrated(self, fused: Fused, scales: Mapping[str, float]) -> tuple[str, str]:
        if any(name_of(node) in self.floats for node in fused.nodes):
            return self.float_type, "the file beside it says FP16"
        known = [root(tensor).name in scales for tensor in (*fused.inputs(), fused.output)]
        return ("INT8", "") if all(known) else (self.float_type, "a tensor has no scale")


def root(tensor: gs.Tensor) -> gs.Tensor:
    """The tensor that ``tensor`` is in another shape or rounding."""
    node = producer(tensor)
    while node is not None and node.op in (*FREE, *BORDERS):
        tensor = node.inputs[0]
        node = producer(tensor)
    return tensor


def main_node(fused: Fused) -> gs.Node:
    """The one with weights, else the first."""
    return next((node for node in fused.nodes if node.op in PRODUCTS), fused.nodes[0])
