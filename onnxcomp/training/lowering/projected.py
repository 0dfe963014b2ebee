"""Work that is not needed where the caller keeps the weights projected after each update.

Projected weights are exactly 0 where their mask is 0, and none lies beyond the range of its scale:
multiplying by the mask changes nothing, and the straight-through gradient of their fake quantisation
(Jacob et al. 2018, section 3; Bengio et al. 2013) lets every value pass. Gradients are masked as before.
"""

from __future__ import annotations

import onnx
from onnx import NodeProto, helper

from onnxcomp import graphs
from onnxcomp.training.lowering.base import GradientLowering


def trust_projection(graph: onnx.GraphProto) -> int:
    """Drop the masking and the range checks of weights; returns how many of both."""
    producers = {name: node for node in graph.node for name in node.output}
    parameters = {entry.name for entry in graph.input}
    replaced: dict[str, NodeProto] = {}
    dead: set[str] = set()
    for node in graph.node:
        if (
            node.op_type == "Mul"
            and node.name.startswith(graphs.PRUNE_PREFIX)
            and parameters.issuperset(node.input)
        ):
            replaced[node.output[0]] = helper.make_node("Identity", node.input[:1], node.output, node.name)
        if node.op_type == "Clip" and producers[node.input[0]].op_type == "QuantizeLinear":
            replaced[node.output[0]] = helper.make_node("Identity", node.input[:1], node.output, node.name)
        check = producers.get(node.input[1]) if node.op_type == "FakeQuantGrad" else None
        size = producers.get(check.input[0]) if check is not None and check.op_type == "Less" else None
        if check is not None and size is not None and size.op_type == "Abs":
            replaced[node.output[0]] = helper.make_node("Identity", node.input[:1], node.output, node.name)
            dead.update((check.output[0], size.output[0], check.input[1]))
    nodes = [replaced.get(node.output[0], node) for node in graph.node if node.output[0] not in dead]
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return len(replaced)


LOWERING = GradientLowering(
    "projected weights",
    "masks and range checks of weights that the trainer keeps masked and in range after each update",
    trust_projection,
)
