"""SoftmaxCrossEntropyLoss gets the second output, the logarithms of the probabilities."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import Lowering


def lower_loss(graph: gs.Graph) -> int:
    """Give SoftmaxCrossEntropyLoss the second output that its gradient reads; returns how many."""
    nodes = [n for n in graph.nodes if n.op == "SoftmaxCrossEntropyLoss" and len(n.outputs) == 1]
    for node in nodes:
        node.outputs.append(edit.variable(f"{node.outputs[0].name}.log_prob", node.inputs[0]))
    return len(nodes)


LOWERING = Lowering(
    "loss",
    "SoftmaxCrossEntropyLoss with one output, of which the gradient reads the second",
    lambda training: lower_loss(training.graph),
)
