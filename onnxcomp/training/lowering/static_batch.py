"""A fixed batch size, and the shape of every tensor worked out from it.

ONNX Runtime's AveragePoolGrad reads a free batch as 0 and the next convolution's gradient then divides
by it, which kills the process; with a fixed batch it is right. Other lowerings need shapes too.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp.model import LABELS
from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import Lowering


def fix_batch(graph: gs.Graph, image: str, batch_size: int) -> int:
    """Set the batch of the input ``image`` and of the labels to ``batch_size``; infer every shape.

    Returns:
        The number of nodes, all of which now have static shapes.
    """
    inputs = {tensor.name: tensor for tensor in graph.inputs}
    old = inputs[image].shape[0]
    if isinstance(old, int):
        _change_reshapes(graph, old, batch_size)
    inputs[image].shape = [batch_size, *inputs[image].shape[1:]]
    inputs[LABELS].shape = [batch_size]
    edit.infer_shapes(graph)
    return len(graph.nodes)


def _change_reshapes(graph: gs.Graph, old: int, new: int) -> None:
    """A file exported at a fixed batch also holds it in the targets of its Reshape nodes."""
    for node in graph.nodes:
        if node.op != "Reshape" or not isinstance(node.inputs[1], gs.Constant):
            continue
        shape, target = node.inputs[0].shape, node.inputs[1].values
        if shape and shape[0] == old and len(target) and target[0] == old:
            node.inputs[1] = edit.integers(f"{node.name}.shape", [new, *target[1:].tolist()])


LOWERING = Lowering(
    "static batch",
    "always: shapes are worked out, and pooling gradients need a fixed batch",
    lambda training: fix_batch(training.graph, training.image, training.batch_size),
)
