"""Questions about a graph: which weight a node uses, how it is masked and quantised, who reads a tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

TEACHER_PREFIX = "teacher/"
LOSS_PREFIX = "loss/"
CONNECTOR_PREFIX = "loss/connector/"
PRUNE_PREFIX = "prune/"
QAT_PREFIX = "qat/"
RESERVED = (TEACHER_PREFIX, LOSS_PREFIX, PRUNE_PREFIX, QAT_PREFIX)
"""Beginnings of node names by which the passes know their own nodes."""
WEIGHTED_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True)
class Weight:
    """A constant weight and the node that computes with it.

    Attributes:
        node: Conv, ConvTranspose, Gemm or MatMul of the student.
        index: which input of ``node`` the weight feeds.
        tensor: the float32 constant, before mask and Q/DQ.
        axis: the output-channel axis of the weight.
    """

    node: gs.Node
    index: int
    tensor: gs.Constant
    axis: int

    @property
    def name(self) -> str:
        return str(self.tensor.name)


@dataclass(frozen=True)
class Quantizer:
    """A QuantizeLinear/DequantizeLinear pair.

    Attributes:
        quantize: QuantizeLinear(x, scale, zero point).
        dequantize: its DequantizeLinear.
    """

    quantize: gs.Node
    dequantize: gs.Node

    @property
    def source(self) -> gs.Tensor:
        return self.quantize.inputs[0]

    @property
    def scale(self) -> gs.Constant:
        return self.quantize.inputs[1]

    @property
    def axis(self) -> int:
        return int(self.quantize.attrs.get("axis", 1))

    @property
    def per_channel(self) -> bool:
        return len(self.scale.shape) == 1

    @property
    def weight(self) -> gs.Constant | None:
        """The constant that is quantised (through its mask), or None for an activation."""
        return constant_behind(self.source)


def is_student(node: gs.Node) -> bool:
    """Neither teacher nor loss."""
    return not node.name.startswith((TEACHER_PREFIX, LOSS_PREFIX))


def is_trained(node: gs.Node) -> bool:
    """Of the student, or of a connector: its weights and statistics are the training's to move."""
    return is_student(node) or node.name.startswith(CONNECTOR_PREFIX)


def constant_behind(tensor: gs.Tensor) -> gs.Constant | None:
    """The weight behind an optional Q/DQ pair and an optional mask, or None."""
    while not isinstance(tensor, gs.Constant):
        if not tensor.inputs:
            return None
        producer = tensor.inputs[0]
        masked = producer.op == "Mul" and mask_of(producer) is not None
        if not masked and producer.op not in ("QuantizeLinear", "DequantizeLinear"):
            return None
        tensor = producer.inputs[0]
    return tensor


def mask_of(node: gs.Node) -> gs.Constant | None:
    """The mask that a ``prune/...`` Mul applies, or None for any other node."""
    if node.op != "Mul" or not node.name.startswith(PRUNE_PREFIX):
        return None
    mask = node.inputs[1]
    return mask if isinstance(mask, gs.Constant) else None


def weights(graph: gs.Graph) -> Iterator[Weight]:
    """Every weight of the student's Conv, ConvTranspose, Gemm and MatMul nodes, in graph order.

    A tensor shared by several nodes comes once for each.
    """
    for node in graph.nodes:
        if node.op not in WEIGHTED_OPS or not is_student(node):
            continue
        index = 1
        tensor = constant_behind(node.inputs[1])
        if tensor is None and node.op == "MatMul":
            index, tensor = 0, constant_behind(node.inputs[0])
        if tensor is not None and len(tensor.shape) >= 2:
            yield Weight(node, index, tensor, _output_axis(node, index, tensor))


def _output_axis(node: gs.Node, index: int, tensor: gs.Constant) -> int:
    if node.op == "Conv":
        return 0
    if node.op == "ConvTranspose":
        return 1
    if node.op == "Gemm":
        return 0 if node.attrs.get("transB", 0) else 1
    rank = len(tensor.shape)
    return rank - 1 if index == 1 else rank - 2


def masks(graph: gs.Graph) -> dict[str, gs.Constant]:
    """Mask by the name of the weight it masks."""
    found = {}
    for node in graph.nodes:
        mask = mask_of(node)
        if mask is not None:
            found[node.inputs[0].name] = mask
    return found


def quantizers(graph: gs.Graph) -> Iterator[Quantizer]:
    """Every Q/DQ pair but those of a teacher, in graph order."""
    for node in graph.nodes:
        if node.op == "QuantizeLinear" and is_student(node) and node.outputs[0].outputs:
            reader = node.outputs[0].outputs[0]
            if reader.op == "DequantizeLinear":
                yield Quantizer(node, reader)


def rewire(old: gs.Tensor, new: gs.Tensor, readers: list[gs.Node]) -> None:
    """Let ``readers`` read ``new`` where they read ``old``."""
    for node in readers:
        for index, tensor in enumerate(node.inputs):
            if tensor is old:
                node.inputs[index] = new


def free_name(name: str, taken: set[str]) -> str:
    """``name``, or with the first free number after it; the result is added to ``taken``."""
    free, number = name, 0
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free)
    return free


def along(vector: NDArray[_T], axis: int, rank: int) -> NDArray[_T]:
    """Shape a scale or zero point so that it broadcasts along ``axis`` of a tensor of ``rank``.

    Args:
        vector: shape (C,) for one value a channel; shape () or (1,), one value for all, becomes ().
        axis: may be negative.
    """
    if vector.size == 1:
        return vector.reshape(())
    shape = [1] * rank
    shape[axis] = vector.size
    return vector.reshape(shape)
