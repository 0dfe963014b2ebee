"""Operators that only move values move integers: DQ -> op -> Q of one encoding is op on the integers.

``q(dq(i)) = i``, and of integers the largest is where that of the values is, so it is exact. The mean of one
element is that element: pooling of 1x1 maps goes.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.deploy.integer.pairs import dequantizer, encoding, quantizers

MOVING = (
    "Concat",
    "Flatten",
    "MaxPool",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)


def move_integers(graph: gs.Graph) -> int:
    """Take the pairs around such operators away; returns around how many."""
    count = sum(_move(graph, node) for node in graph.nodes if node.op in MOVING)
    count += sum(_skip(graph, node) for node in graph.nodes if node.op == "GlobalAveragePool")
    graph.cleanup(remove_unused_graph_inputs=False)
    return count


def _move(graph: gs.Graph, node: gs.Node) -> bool:
    data = len(node.inputs) if node.op == "Concat" else 1
    before = [dequantizer(tensor) for tensor in node.inputs[:data]]
    behind = quantizers(graph, node.outputs[0])
    if not behind or len(node.outputs) != 1 or any(pair is None for pair in before):
        return False
    pairs = [pair for pair in before if pair is not None]
    if {encoding(pair) for pair in pairs} != {encoding(behind[0])}:
        return False
    node.inputs = [*(pair.inputs[0] for pair in pairs), *node.inputs[data:]]
    output, *others = (pair.outputs[0] for pair in behind)
    for pair in behind:
        pair.inputs.clear()
        pair.outputs.clear()
    for other in others:
        graphs.rewire(other, output, list(other.outputs))
    node.outputs = [output]
    return True


def _skip(graph: gs.Graph, node: gs.Node) -> bool:
    """Take a mean of one element away, with its pairs."""
    before, behind = dequantizer(node.inputs[0]), quantizers(graph, node.outputs[0])
    if before is None or not behind or encoding(before) != encoding(behind[0]):
        return False
    if tuple((node.inputs[0].shape or ())[2:]) != (1, 1):
        return False
    for pair in behind:
        graphs.rewire(pair.outputs[0], before.inputs[0], list(pair.outputs[0].outputs))
    return True
