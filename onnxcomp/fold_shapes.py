"""Shapes that the file computes in the graph become constants, so that those of all tensors are known.

Exporters write a free batch as Shape, Gather, Concat, Where and so on. Once the batch is fixed that is
arithmetic on constants; inference of shapes follows some of these operators and not others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx.reference import ReferenceEvaluator

from onnxcomp import shape_inference

WHOLE = (np.int32, np.int64, np.bool_)


def fold_shapes(graph: gs.Graph) -> int:
    """Compute every whole-numbered tensor that depends on shapes and constants alone.

    Args:
        graph: sorted, with the static shapes that inference finds; those that it finds then are added.

    Returns:
        The number of nodes that are gone.
    """
    total = 0
    while count := _fold_once(graph):
        total += count
        graph.nodes = [node for node in graph.nodes if node.outputs]
        graph.toposort()
        shape_inference.fill(graph)
    return total


def _fold_once(graph: gs.Graph) -> int:
    results = {id(tensor) for tensor in graph.outputs}
    count = 0
    for node in graph.nodes:
        if len(node.outputs) != 1 or node.outputs[0].dtype not in WHOLE or id(node.outputs[0]) in results:
            continue
        values = _value(graph, node)
        if values is not None:
            output = node.outputs[0]
            node.inputs.clear()
            node.outputs.clear()
            output.to_constant(values)
            count += 1
    return count


def _value(graph: gs.Graph, node: gs.Node) -> Any:
    """The array that ``node`` computes, or None if it is not known yet."""
    if node.op == "Shape":
        shape = node.inputs[0].shape
        if shape is None or not all(isinstance(size, int) for size in shape):
            return None
        return np.array(shape, np.int64)[node.attrs.get("start", 0) : node.attrs.get("end")]
    if node.domain or not node.inputs or not all(isinstance(t, gs.Constant) for t in node.inputs):
        return None
    own = {tensor.name: gs.Constant(tensor.name, tensor.values) for tensor in node.inputs}
    inputs = [own[tensor.name] for tensor in node.inputs]  # one may come twice
    output = gs.Variable(node.outputs[0].name, node.outputs[0].dtype)
    copy = gs.Node(node.op, node.name, dict(node.attrs), inputs, [output])
    alone = gs.Graph([copy], outputs=[output], opset=graph.opset)
    (value,) = ReferenceEvaluator(gs.export_onnx(alone, do_type_check=False)).run(None, {})
    return np.asarray(value, node.outputs[0].dtype)
