"""LayerNormalization as the operators that its specification is made of, for parsers without it."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs

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
    taken = set(graph.tensors())
    found = [node for node in graph.nodes if node.op == "LayerNormalization" and _suits(node)]
    for node in found:
        _replace(graph, node, taken)
    graph.cleanup(remove_unused_graph_inputs=False).toposort()
    return len(found)


def _suits(node: gs.Node) -> bool:
    read = any(tensor.outputs for tensor in node.outputs[1:])
    return not read and (_axis(node) < 0 or node.inputs[0].shape is not None)


def _axis(node: gs.Node) -> int:
    return int(node.attrs.get("axis", -1))


def _replace(graph: gs.Graph, node: gs.Node, taken: set[str]) -> None:
    read, scale, *bias = (tensor for tensor in node.inputs if not tensor.is_empty())
    axis = _axis(node)
    axes = list(range(axis if axis < 0 else axis - len(read.shape), 0))

    def made(op: str, what: str, *inputs: gs.Tensor, **attributes: object) -> gs.Variable:
        name = graphs.free_name(f"{node.name}/{what}", taken)
        output = gs.Variable(name, np.float32)
        graph.nodes.append(gs.Node(op, name, attributes, list(inputs), [output]))
        return output

    epsilon = float(node.attrs.get("epsilon", 1e-5))
    least = gs.Constant(graphs.free_name(f"{node.name}/epsilon", taken), np.array(epsilon, np.float32))
    centred = made("Sub", "centred", read, made("ReduceMean", "mean", read, axes=axes, keepdims=1))
    squared = made("Mul", "squared", centred, centred)
    variance = made("ReduceMean", "variance", squared, axes=axes, keepdims=1)
    deviation = made("Sqrt", "deviation", made("Add", "bounded", variance, least))
    result = made("Mul", "scaled", made("Div", "normalised", centred, deviation), scale)
    if bias:
        result = made("Add", "shifted", result, bias[0])
    output = node.outputs[0]
    node.outputs.clear()
    node.inputs.clear()
    last = result.inputs[0]
    last.outputs.clear()
    last.outputs.append(output)
