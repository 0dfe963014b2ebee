"""LayerNormalization gets what its gradient reads: mean and inverse deviation as outputs, and a bias."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import Lowering
from onnxcomp.training.lowering.operators.writer import absent, trained

EXTRA_OUTPUTS = ("mean", "inverse_deviation")


def lower_layer_norm(graph: gs.Graph) -> int:
    """Complete every LayerNormalization outside the teacher; returns how many changed."""
    nodes = [n for n in graph.nodes if n.op == "LayerNormalization" and trained(n)]
    for node in nodes:
        name = node.outputs[0].name
        rank = len(node.inputs[0].shape)
        axis = node.attrs.get("axis", -1) % rank
        shape = [*node.inputs[0].shape[:axis], *[1] * (rank - axis)]
        if absent(node.inputs, 2):
            zeros = np.zeros(node.inputs[1].shape, np.float32)
            node.inputs = [*node.inputs[:2], gs.Constant(f"{edit.PREFIX}{name}.bias", zeros)]
        extra = [edit.variable(f"{name}.{word}", shape=shape) for word in EXTRA_OUTPUTS]
        node.outputs = [node.outputs[0], *extra]
    return len(nodes)


LOWERING = Lowering(
    "layer norm",
    "LayerNormalization, whose gradient reads its mean, its deviation and its bias",
    lambda training: lower_layer_norm(training.graph),
)
