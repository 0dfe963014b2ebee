"""A BatchNormalization between pairs as a depthwise 1x1 convolution, which has an integer kernel.

bn(x) = factor * x + shift per channel. A weight of 127 * sign(factor) with the scale ``|factor| / 127`` is
exactly ``factor``; only ``shift`` is rounded, to multiples of ``input scale * |factor| / 127``.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.affine import Affine, UnsuitableError, affine
from onnxcomp.deploy.integer.pairs import dequantizer, encoding, quantizers

LEVELS = 127
_SMALLEST = float(np.finfo(np.float32).tiny)


def use_convolutions(graph: gs.Graph) -> tuple[int, list[tuple[str, str]]]:
    """Replace in place; returns how many, and name and reason of each that stays."""
    taken = set(graph.tensors())
    count, kept = 0, []
    for node in [node for node in graph.nodes if node.op == "BatchNormalization"]:
        try:
            _replace(graph, node, taken)
            count += 1
        except UnsuitableError as refusal:
            kept.append((node.name, str(refusal)))
    graph.cleanup(remove_unused_graph_inputs=False).toposort()
    return count, kept


def _replace(graph: gs.Graph, node: gs.Node, taken: set[str]) -> None:
    before = dequantizer(node.inputs[0])
    if before is None or encoding(before) is None:
        raise UnsuitableError("its input is not quantized")
    if not quantizers(graph, node.outputs[0]):
        raise UnsuitableError("its output is not quantized")
    if len(node.inputs[0].shape or ()) != 4:
        raise UnsuitableError("its input is no image")
    change = affine(node)
    channels = len(change.factor)
    name = node.inputs[1].name
    weight = _weight(graph, name, change, taken)
    bias = gs.Constant(node.inputs[2].name, _as_float32(change.shift))
    node.inputs = [node.inputs[0], weight, bias]
    node.op = "Conv"
    node.attrs = {"dilations": [1, 1], "group": channels, "kernel_shape": [1, 1]}
    node.attrs |= {"pads": [0] * 4, "strides": [1, 1]}


def _weight(graph: gs.Graph, name: str, change: Affine, taken: set[str]) -> gs.Variable:
    """``factor`` as INT8 constant -> DequantizeLinear; shape (C, 1, 1, 1)."""
    scale = np.abs(change.factor) / LEVELS
    alive = scale >= _SMALLEST
    # Of a channel that is constant only the bias counts; its scale decides how finely that is rounded.
    scale = _as_float32(np.where(alive, scale, np.maximum(np.abs(change.shift), 1) / 2**20))
    signs = np.where(alive, np.sign(change.factor), 0) * LEVELS
    shape = (len(signs), 1, 1, 1)
    constants = [
        gs.Constant(graphs.free_name(f"{name}.quantized", taken), signs.astype(np.int8).reshape(shape)),
        gs.Constant(graphs.free_name(f"{name}.scale", taken), scale),
        gs.Constant(graphs.free_name(f"{name}.zero_point", taken), np.zeros(len(signs), np.int8)),
    ]
    output = gs.Variable(graphs.free_name(f"{name}.dequantized", taken), np.float32, shape)
    node = f"{graphs.QAT_PREFIX}{name}/dequantize"
    graph.nodes.append(gs.Node("DequantizeLinear", node, {"axis": 0}, constants, [output]))
    return output


def _as_float32(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> np.ndarray:
    if np.any(np.abs(values) > np.finfo(np.float32).max):
        raise UnsuitableError("its parameters do not fit float32")
    return values.astype(np.float32)
