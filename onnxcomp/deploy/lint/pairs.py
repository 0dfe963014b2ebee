"""Questions about QuantizeLinear and DequantizeLinear of any file, also of one that uses them wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxcomp.deploy.lint.network import MOVES, Network, constant, present, producer, values

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def pair_nodes(network: Network) -> Iterator[gs.Node]:
    """Every QuantizeLinear and DequantizeLinear."""
    return (node for node in network.graph.nodes if node.op in (QUANTIZE, DEQUANTIZE))


def scale_size(node: gs.Node) -> int | None:
    """Number of scales of a Q or DQ; None where they are computed."""
    found = values(present(node, 1))
    return None if found is None else int(found.size)


def source(tensor: gs.Tensor) -> gs.Tensor:
    """What is quantised, where ``tensor`` comes from Q, DQ or both; else itself."""
    node = producer(tensor)
    while node is not None and node.op in (QUANTIZE, DEQUANTIZE):
        tensor = node.inputs[0]
        node = producer(tensor)
    return tensor


def is_constant(tensor: gs.Tensor, depth: int = 8) -> bool:
    """Constant, or computed from constants alone, such as a masked weight."""
    node = producer(tensor)
    if constant(tensor) is not None or node is None or depth == 0:
        return constant(tensor) is not None
    inputs = [entry for entry in node.inputs if not entry.is_empty()]
    return bool(inputs) and all(is_constant(entry, depth - 1) for entry in inputs)


def dequantizer(tensor: gs.Tensor | None) -> gs.Node | None:
    """The DequantizeLinear that gives ``tensor``."""
    node = None if tensor is None else producer(tensor)
    return node if node is not None and node.op == DEQUANTIZE else None


@dataclass(frozen=True)
class Layer:
    """A node with a constant weight.

    Attributes:
        node: Conv, ConvTranspose, Gemm or MatMul.
        index: of the input that is the weight.
        axis: of the weight's output channels; None where one axis is not all of them.
    """

    node: gs.Node
    index: int
    axis: int | None

    @property
    def weight(self) -> gs.Tensor:
        return self.node.inputs[self.index]

    @property
    def data(self) -> gs.Tensor:
        return self.node.inputs[0 if self.index else 1]

    @property
    def quantized(self) -> bool:
        """Whether both of what it multiplies is dequantised."""
        return dequantizer(self.weight) is not None and given_quantized(self.data)


def given_quantized(tensor: gs.Tensor) -> bool:
    """Whether a DQ gives all of ``tensor``, through operators that compute nothing."""
    return all(node is not None for node in origins(tensor))


def origins(tensor: gs.Tensor) -> list[gs.Node | None]:
    """The DequantizeLinear nodes that ``tensor`` comes from, through operators that compute nothing.

    None stands for whatever else it comes from.
    """
    found: list[gs.Node | None] = []
    waiting, seen = [tensor], {id(tensor)}
    while waiting:
        node = producer(waiting.pop())
        if node is None or node.op not in MOVES:
            found.append(node if node is not None and node.op == DEQUANTIZE else None)
            continue
        inputs = node.inputs if node.op == "Concat" else node.inputs[:1]
        waiting += [entry for entry in inputs if id(entry) not in seen]
        seen |= {id(entry) for entry in inputs}
    return found


def layers(network: Network) -> Iterator[Layer]:
    """Every node with a constant weight, quantised or not."""
    for node in network.graph.nodes:
        if node.op not in LAYERS or len(node.inputs) < 2:
            continue
        for index in (1, 0) if node.op == "MatMul" else (1,):
            tensor = source(node.inputs[index])
            if is_constant(tensor) and not is_constant(node.inputs[1 - index]):
                yield Layer(node, index, _axis(node, index, len(tensor.shape or ())))
                break


def _axis(node: gs.Node, index: int, rank: int) -> int | None:
    if node.op == "Conv":
        return 0
    if node.op == "ConvTranspose":
        return 1 if node.attrs.get("group", 1) == 1 else None
    if node.op == "Gemm":
        return 0 if node.attrs.get("transB", 0) else 1
    return rank - 1 if index == 1 else rank - 2


def bias(node: gs.Node) -> gs.Tensor | None:
    """The bias input of a Conv, ConvTranspose or Gemm."""
    return None if node.op == "MatMul" else present(node, 2)


def read_quantized(network: Network, tensor: gs.Tensor, through: tuple[str, ...] = MOVES) -> bool:
    """Whether all that reads ``tensor``, through the operators named, is QuantizeLinear."""
    readers = list(tensor.outputs)
    if not readers or network.is_output(tensor):
        return False
    return all(
        node.op == QUANTIZE
        or (node.op in through and bool(node.outputs) and read_quantized(network, node.outputs[0], through))
        for node in readers
    )
