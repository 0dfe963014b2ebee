"""The student's BatchNormalization normalises with the batch and updates its running statistics.

`com.microsoft::BatchNormInternal` writes the new statistics over the arrays fed as inputs, as long as
its statistics outputs are not outputs of the graph. Its running variance is the biased one (divided
by N, as in the paper's formula for the batch, not N-1). The teacher keeps BatchNormalization.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.model import Role
from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import Lowering

EXTRA_OUTPUTS = ("running_mean", "running_variance", "batch_mean", "batch_inverse_deviation")


def lower_batch_norm(graph: gs.Graph, statistics: set[str]) -> int:
    """Replace every BatchNormalization of the student that owns its statistics; returns how many."""
    count = 0
    for node in graph.nodes:
        if node.op != "BatchNormalization" or not graphs.is_trained(node):
            continue
        if not {tensor.name for tensor in node.inputs[3:5]} <= statistics:
            continue
        node.op, node.domain = "BatchNormInternal", edit.MICROSOFT
        node.attrs = {
            "epsilon": node.attrs.get("epsilon", 1e-5),
            "momentum": node.attrs.get("momentum", 0.9),
            "training_mode": 1,
        }
        name = node.outputs[0].name
        node.outputs.extend(edit.variable(f"{name}.{extra}", node.inputs[1]) for extra in EXTRA_OUTPUTS)
        count += 1
    if count:
        edit.use_microsoft(graph)
    return count


LOWERING = Lowering(
    "batch statistics",
    "BatchNormalization of the student whose running statistics are trained along",
    lambda training: lower_batch_norm(training.graph, set(training.names(Role.STATISTIC))),
)
