"""Fold each BatchNormalization into the Conv, ConvTranspose or Gemm before it, where that is exact.

    bn(y) = (y - mean) * f + beta,  f = gamma / sqrt(var + epsilon)          (ONNX BatchNormalization)

so the weight's output channels are multiplied by f and the bias becomes (bias - mean) * f + beta. An INT8
weight keeps its integers: f changes its scale by \\|f\\| and, where f < 0, its signs. Float arithmetic is
float64, rounded once to float32.

A BatchNormalization stays when something else reads what it normalises, when a Q/DQ pair stands
between, or when it comes before its convolution (pre-activation: padding makes folding inexact).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxcomp import graphs
from onnxcomp.affine import UnsuitableError, affine
from onnxcomp.integers import scale_integers

FOLDABLE = ("Conv", "ConvTranspose", "Gemm")
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Folds:
    """What became of the BatchNormalization nodes.

    Attributes:
        folded: names of those that are gone.
        kept: name and reason of those that stay.
    """

    folded: tuple[str, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()


def fold_bn(graph: gs.Graph) -> Folds:
    """Fold in place; quantized weights must be INT8 constant -> DequantizeLinear (per channel or not).

    Masks must have been multiplied in already.
    """
    axes = {weight.node.name: weight.axis for weight in graphs.weights(graph)}
    taken = set(graph.tensors())
    folded, kept = [], []
    for node in list(graph.nodes):
        if node.op != "BatchNormalization":
            continue
        try:
            _fold(graph, node, axes, taken)
            folded.append(node.name)
        except UnsuitableError as refusal:
            kept.append((node.name, str(refusal)))
    graph.cleanup(remove_unused_graph_inputs=False)
    return Folds(tuple(folded), tuple(kept))


def _fold(graph: gs.Graph, bn: gs.Node, axes: dict[str, int], taken: set[str]) -> None:
    node = _producer(graph, bn)
    constant, dequantize = _weight(node)
    axis = axes[node.name]
    change = affine(bn, constant.shape[axis])
    bias = bias_values(node, len(change.factor))
    new_bias = _as_float32(bias * change.factor + change.shift)
    if dequantize is None:
        values = constant.values.astype(np.float64) * graphs.along(change.factor, axis, constant.values.ndim)
        constant.values = _as_float32(values) + np.float32(0)  # -0 becomes 0
    else:
        _check_integers(constant, dequantize, change.factor, axis)
        scale, zero = dequantize.inputs[1:3]
        constant.values, scale.values = scale_integers(constant.values, scale.values, change.factor, axis)
        zero.values = np.zeros(scale.values.shape, np.int8)
        dequantize.attrs["axis"] = axis
    _set_bias(node, bn, new_bias, taken)
    node.outputs[0] = bn.outputs[0]
    bn.outputs.clear()
    bn.inputs.clear()


def _producer(graph: gs.Graph, bn: gs.Node) -> gs.Node:
    source = bn.inputs[0]
    node, pair = _computing(source)
    if node is None or node.op not in FOLDABLE:
        raise UnsuitableError(f"it follows {node.op if node else 'the input'}, not a convolution")
    if pair:
        raise UnsuitableError(f"Q/DQ stands between it and {node.name}")
    if len(source.outputs) > 1 or any(source is output for output in graph.outputs):
        raise UnsuitableError(f"the output of {node.name} has other readers")
    if node.op == "ConvTranspose" and node.attrs.get("group", 1) != 1:
        raise UnsuitableError(f"{node.name} is a grouped ConvTranspose")
    return node


def _computing(tensor: gs.Tensor) -> tuple[gs.Node | None, bool]:
    """The node that computes ``tensor``, and whether Q/DQ stands behind it."""
    pair = False
    while tensor.inputs and tensor.inputs[0].op in ("QuantizeLinear", "DequantizeLinear"):
        tensor, pair = tensor.inputs[0].inputs[0], True
    return (tensor.inputs[0] if tensor.inputs else None), pair


def _weight(node: gs.Node) -> tuple[gs.Constant, gs.Node | None]:
    tensor, dequantize = node.inputs[1], None
    if tensor.inputs and tensor.inputs[0].op == "DequantizeLinear":
        dequantize = tensor.inputs[0]
        if len(tensor.outputs) > 1:
            raise UnsuitableError(f"the weight of {node.name} is shared")
        tensor = dequantize.inputs[0]
    if not isinstance(tensor, gs.Constant):
        raise UnsuitableError(f"the weight of {node.name} is not constant")
    if len(tensor.outputs) > 1:
        raise UnsuitableError(f"the weight of {node.name} is shared")
    return tensor, dequantize


def bias_values(node: gs.Node, channels: int) -> NDArray[np.float64]:
    """The bias of a Conv, ConvTranspose or Gemm as it is added to the output: float64, shape (C,).

    Raises:
        UnsuitableError: it is not constant, or a Gemm's differs between rows.
    """
    tensor = _bias_tensor(node)
    if tensor is None:
        return np.zeros(channels)
    if not isinstance(tensor, gs.Constant):
        raise UnsuitableError(f"the bias of {node.name} is not constant")
    values = tensor.values
    if values.ndim and values.size != values.shape[-1]:
        raise UnsuitableError(f"the bias of {node.name} differs between rows")
    beta = node.attrs.get("beta", 1.0) if node.op == "Gemm" else 1.0
    return np.broadcast_to(values.reshape(-1).astype(np.float64) * beta, (channels,))


def _bias_tensor(node: gs.Node) -> gs.Tensor | None:
    tensor = node.inputs[2] if len(node.inputs) > 2 else None
    return None if tensor is None or tensor.is_empty() else tensor


def _set_bias(node: gs.Node, bn: gs.Node, values: NDArray[np.float32], taken: set[str]) -> None:
    old = _bias_tensor(node)
    while len(node.inputs) > 2:
        node.inputs.pop()
    name = f"{bn.inputs[2].name}.folded" if old is None else old.name
    if old is None or old.outputs:
        name = graphs.free_name(name, taken)
    node.inputs.append(gs.Constant(name, values))
    if node.op == "Gemm":
        node.attrs["beta"] = 1.0


def _check_integers(
    constant: gs.Constant, dequantize: gs.Node, factor: NDArray[np.float64], axis: int
) -> None:
    scale, zero = dequantize.inputs[1:3]
    rank = constant.values.ndim
    if scale.values.ndim and int(dequantize.attrs.get("axis", 1)) % rank != axis:
        raise UnsuitableError("its weight is quantized along another axis")
    if len(scale.outputs) > 1 or len(zero.outputs) > 1:
        raise UnsuitableError("its weight shares its scale or zero point with another")
    if np.any((constant.values == -128) & (graphs.along(factor, axis, rank) < 0)):
        raise UnsuitableError("its weight holds the integer -128, which has no opposite")
    _as_float32(scale.values.astype(np.float64) * np.abs(factor))


def _as_float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    if np.any(np.abs(values) > _LARGEST):
        raise UnsuitableError("the folded values do not fit float32")
    return values.astype(np.float32)
