"""Biases in INT32, as integer kernels add them to their sums: in steps of input scale * weight scale."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxcomp import graphs
from onnxcomp.affine import UnsuitableError
from onnxcomp.deploy.integer.pairs import Encoding, dequantizer, encoding, quantizers
from onnxcomp.fold_bn import bias_values

_LARGEST = 2**31 - 1
_DIGITS = 20
_SMALLEST = float(np.finfo(np.float32).tiny)


def quantize_biases(graph: gs.Graph) -> tuple[int, list[tuple[str, str]]]:
    """Rewrite the float32 bias of each quantized Conv and Gemm as INT32 constant -> DequantizeLinear.

    Returns:
        How many, and name and reason of each layer whose bias, and so the layer, stays float.
    """
    taken = set(graph.tensors())
    count, kept = 0, []
    for node in list(graph.nodes):
        if not _is_integer(graph, node):
            continue
        try:
            _quantize(graph, node, taken)
            count += 1
        except UnsuitableError as refusal:
            kept.append((node.name, str(refusal)))
    graph.toposort()
    return count, kept


def _is_integer(graph: gs.Graph, node: gs.Node) -> bool:
    """Whether all but the bias of a layer is as its integer kernel wants it."""
    if node.op not in ("Conv", "Gemm") or len(node.inputs) < 3 or node.inputs[2].is_empty():
        return False
    pairs = [dequantizer(tensor) for tensor in node.inputs[:2]]
    if any(pair is None for pair in pairs):
        return False
    return node.op == "Gemm" or bool(quantizers(graph, node.outputs[0]))


def _quantize(graph: gs.Graph, node: gs.Node, taken: set[str]) -> None:
    source, weight = (dequantizer(tensor) for tensor in node.inputs[:2])
    assert source is not None
    assert weight is not None
    constant = weight.inputs[0]
    found = encoding(source)
    if found is None or not isinstance(constant, gs.Constant):
        raise UnsuitableError("its weight is not constant")
    if node.op == "Gemm" and (node.attrs.get("alpha", 1.0) != 1 or node.attrs.get("transA", 0)):
        raise UnsuitableError("it is scaled or transposed")
    axis = 0 if node.op == "Conv" or node.attrs.get("transB", 0) else 1
    bias = bias_values(node, constant.values.shape[axis])
    scale = _scale(found, weight, axis, bias)
    step = (found.scale * scale).astype(np.float32)
    integers = np.rint(bias / step.astype(np.float64)).astype(np.int32)
    _write(graph, node, integers, step, taken)


def _scale(source: Encoding, weight: gs.Node, axis: int, bias: NDArray[np.float64]) -> NDArray[np.float32]:
    """The weight's scales, float32 (C,), changed where the bias needs others.

    Made so large where it would not fit INT32 that it does: there the weight is rounded again, which moves
    less than 2^-20 of the bias. Where a channel's weights are all 0 any scale will do, and one is taken
    that leaves the bias :data:`_DIGITS` bits, unless others read the weight too.
    """
    constant, old = weight.inputs[0], weight.inputs[1]
    others = tuple(i for i in range(constant.values.ndim) if i != axis)
    reach = max(source.high - source.zero, source.zero - source.low)
    room = _LARGEST - reach * np.abs(constant.values.astype(np.int64)).sum(axis=others)
    if np.any(room < 2**24):
        raise UnsuitableError("its sums do not fit INT32")
    scale = np.broadcast_to(old.values, bias.shape).astype(np.float64)
    needed = np.maximum(np.abs(bias) / (room - 1), _SMALLEST) / float(source.scale)
    larger = np.nextafter(np.maximum(scale, needed).astype(np.float32), np.float32(np.inf))
    new = np.where(scale >= needed, scale, larger).astype(np.float32)
    if len(weight.outputs[0].outputs) > 1 or len(constant.outputs) > 1:
        if np.any(scale < needed):
            raise UnsuitableError("its bias does not fit INT32, and its weight is shared")
        return scale.astype(np.float32)
    fine = np.maximum(np.abs(bias) * 2.0**-_DIGITS, _SMALLEST) / float(source.scale)
    empty = ~constant.values.any(axis=others) & (bias != 0)
    new = np.where(empty, np.clip(fine, _SMALLEST, None), new).astype(np.float32)
    if np.array_equal(new, scale):
        return new
    steps = constant.values * graphs.along(scale / new, axis, constant.values.ndim)
    weight.inputs[0] = gs.Constant(constant.name, np.rint(steps).astype(np.int8))
    weight.inputs[1] = gs.Constant(old.name, new)
    weight.inputs[2] = gs.Constant(weight.inputs[2].name, np.zeros(new.shape, np.int8))
    weight.attrs["axis"] = axis
    return new


def _write(
    graph: gs.Graph, node: gs.Node, integers: NDArray[np.int32], step: NDArray[np.float32], taken: set[str]
) -> None:
    name = node.inputs[2].name
    constants = [
        gs.Constant(graphs.free_name(f"{name}.quantized", taken), integers),
        gs.Constant(graphs.free_name(f"{name}.scale", taken), step),
        gs.Constant(graphs.free_name(f"{name}.zero_point", taken), np.zeros(integers.shape, np.int32)),
    ]
    output = gs.Variable(graphs.free_name(f"{name}.dequantized", taken), np.float32, integers.shape)
    title = f"{graphs.QAT_PREFIX}{name}/dequantize"
    graph.nodes.append(gs.Node("DequantizeLinear", title, {"axis": 0}, constants, [output]))
    node.inputs[2] = output
    if node.op == "Gemm":
        node.attrs["beta"] = 1.0
