"""LayerNormalization as the operators that its specification is made of, for parsers without it."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp.deploy.pieces import Pieces

PARSED_FROM = (8, 6)
"""The first TensorRT whose parser knows it (onnx-tensorrt, docs/Changelog.md)."""


def write_out(graph: gs.Graph) -> int:
    """Replace each LayerNormalization, in place, by what the ONNX specification says it is (opset 17).

    Those whose mean or deviation is read too, or whose input has an unknown rank, stay.

    Args:
        graph: of opset 17, in which the axes of ReduceMean are an attribute.

    Returns:
        How many were replaced.
    """
    found = [node for node in graph.nodes if node.op == "LayerNormalization" and _suits(node)]
    for node in found:
        _replace(Pieces(graph, node))
    graph.cleanup(remove_unused_graph_inputs=False).toposort()
    return len(found)


def _suits(node: gs.Node) -> bool:
    read = any(tensor.outputs for tensor in node.outputs[1:])
    return not read and (_axis(node) < 0 or node.inputs[0].shape is not None)


def _axis(node: gs.Node) -> int:
    return int(node.attrs.get("axis", -1))


def _replace(write: Pieces) -> None:
    node = write.node
    read, scale, *bias = (tensor for tensor in node.inputs if not tensor.is_empty())
    axis = _axis(node)
    axes = list(range(axis if axis < 0 else axis - len(read.shape), 0))
    centred = write("Sub", "centred", read, write("ReduceMean", "mean", read, axes=axes, keepdims=1))
    squared = write("Mul", "squared", centred, centred)
    variance = write("ReduceMean", "variance", squared, axes=axes, keepdims=1)
    bounded = write("Add", "bounded", variance, float(node.attrs.get("epsilon", 1e-5)))
    normalised = write("Div", "normalised", centred, write("Sqrt", "deviation", bounded))
    result = write("Mul", "scaled", normalised, scale)
    write.close(write("Add", "shifted", result, bias[0]) if bias else result)
