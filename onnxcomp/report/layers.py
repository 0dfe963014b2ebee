"""Every weighted operator of a network: its shapes, its work, its sparsity and its precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.macs import macs
from onnxcomp.model import Model, to_proto
from onnxcomp.report.size import masked
from onnxcomp.student import student


@dataclass(frozen=True)
class Layer:
    """A Conv, ConvTranspose, Gemm or MatMul with a constant weight.

    Attributes:
        name: of the node.
        op: operator type.
        weight: shape of the weight.
        output: shape of the output; a name or None where a dimension is free.
        parameters: elements of the weight and of the node's own bias.
        macs: multiply-accumulates for one image, zeros counted as work; None where a shape is unknown.
        sparsity: zeros among the weight's elements, through its mask, in percent.
        precision: ``fp32``, ``int8 weights`` or ``int8 w+a`` (weights and activations).
    """

    name: str
    op: str
    weight: tuple[int, ...]
    output: tuple[int | str | None, ...]
    parameters: int
    macs: int | None
    sparsity: float
    precision: str


def layers(model: Model) -> list[Layer]:
    """The student's weighted operators in graph order."""
    graph = _with_shapes(student(model))
    masks = graphs.masks(graph)
    return [_layer(weight, masks.get(weight.name)) for weight in graphs.weights(graph)]


def _with_shapes(model: Model) -> gs.Graph:
    weighted = (weight.node for weight in graphs.weights(model.graph))
    if all(tensor.shape is not None for node in weighted for tensor in (*node.inputs[:2], *node.outputs)):
        return model.graph
    return gs.import_onnx(onnx.shape_inference.infer_shapes(to_proto(model)))


def _layer(weight: graphs.Weight, mask: gs.Constant | None) -> Layer:
    node = weight.node
    values = masked(weight.tensor, mask)
    bias = graphs.constant_behind(node.inputs[2]) if len(node.inputs) > 2 else None
    output = node.outputs[0].shape
    return Layer(
        name=node.name,
        op=node.op,
        weight=tuple(int(size) for size in values.shape),
        output=tuple(output) if output is not None else (),
        parameters=values.size + (bias.values.size if bias is not None else 0),
        macs=macs(weight),
        sparsity=100 * (1 - np.count_nonzero(values) / values.size),
        precision=_precision(weight),
    )


def _precision(weight: graphs.Weight) -> str:
    node = weight.node
    if not _dequantized(node.inputs[weight.index]):
        return "fp32"
    return "int8 w+a" if _dequantized(node.inputs[1 - weight.index]) else "int8 weights"


def _dequantized(tensor: gs.Tensor) -> bool:
    return bool(tensor.inputs) and tensor.inputs[0].op == "DequantizeLinear"
