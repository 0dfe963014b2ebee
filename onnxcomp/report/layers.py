"""Every weighted operator of a network: its shapes, its work, its zeros and its precision."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.macs import macs
from onnxcomp.model import Model
from onnxcomp.report import zeros
from onnxcomp.report.size import masked
from onnxcomp.report.zeros import Pattern
from onnxcomp.shapes import Shapes, shapes
from onnxcomp.student import student


@dataclass(frozen=True)
class Layer:
    """A Conv, ConvTranspose, Gemm or MatMul with a constant weight.

    Attributes:
        name: of the node.
        op: operator type.
        tensor: name of the weight.
        weight: its shape.
        inputs, outputs: channels of all groups.
        groups: of a convolution, else 1.
        output: shape of the output; a name or None where a dimension is free.
        parameters: elements of the weight and of the node's own bias.
        macs: multiply-accumulates for one image, zeros counted as work; None where a shape is unknown.
        sparsity: zeros among the weight's elements, through its mask, in percent.
        zeros, pattern, two_four, dead_outputs, dead_inputs: see :class:`onnxcomp.report.zeros.Zeros`;
            the elements are those of the weight through its mask.
        precision: ``fp32``, ``int8 weights`` or ``int8 w+a`` (weights and activations).
    """

    name: str
    op: str
    tensor: str
    weight: tuple[int, ...]
    inputs: int
    outputs: int
    groups: int
    output: tuple[int | str | None, ...]
    parameters: int
    macs: int | None
    sparsity: float
    zeros: int
    pattern: Pattern
    two_four: bool
    dead_outputs: int
    dead_inputs: int
    precision: str

    @property
    def size(self) -> int:
        """Elements of the weight."""
        return math.prod(self.weight)

    def is_aligned(self, multiple: int) -> bool:
        """Whether both numbers of channels are multiples of it."""
        return self.inputs % multiple == 0 and self.outputs % multiple == 0


def layers(model: Model) -> list[Layer]:
    """The student's weighted operators in graph order."""
    graph = student(model).graph
    masks, known = graphs.masks(graph), shapes(graph)
    batch = (graph.inputs[0].shape or [None])[0] if graph.inputs else None
    return [_layer(weight, masks.get(weight.name), known, batch) for weight in graphs.weights(graph)]


def _layer(weight: graphs.Weight, mask: gs.Constant | None, known: Shapes, batch: int | str | None) -> Layer:
    node = weight.node
    values = masked(weight.tensor, mask)
    groups, outputs, inputs, _ = zeros.by_channel(weight, values).shape
    found = zeros.find(weight, values)
    bias = graphs.constant_behind(node.inputs[2]) if len(node.inputs) > 2 else None
    output = node.outputs[0]
    return Layer(
        name=node.name,
        op=node.op,
        tensor=weight.name,
        weight=tuple(int(size) for size in values.shape),
        inputs=groups * inputs,
        outputs=groups * outputs,
        groups=groups,
        output=_output(output, known, batch),
        parameters=values.size + (bias.values.size if bias is not None else 0),
        macs=macs(weight, known.sizes),
        sparsity=100 * found.count / values.size,
        zeros=found.count,
        pattern=found.pattern,
        two_four=found.two_four,
        dead_outputs=found.dead_outputs,
        dead_inputs=found.dead_inputs,
        precision=_precision(weight),
    )


def _output(tensor: gs.Tensor, known: Shapes, batch: int | str | None) -> tuple[int | str | None, ...]:
    """Its shape, with the batch by its name: inference calls what it does not follow ``unk__7``."""
    one = known.sizes.get(tensor.name, ())
    fixed = known.fixed.get(tensor.name, ())
    return tuple(
        batch if size is None and index == 0 and one[0] == 1 else size for index, size in enumerate(fixed)
    )


def _precision(weight: graphs.Weight) -> str:
    node = weight.node
    if not _dequantized(node.inputs[weight.index]):
        return "fp32"
    return "int8 w+a" if _dequantized(node.inputs[1 - weight.index]) else "int8 weights"


def _dequantized(tensor: gs.Tensor) -> bool:
    return bool(tensor.inputs) and tensor.inputs[0].op == "DequantizeLinear"
