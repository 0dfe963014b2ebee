"""A fixed batch size, and the shape of every tensor worked out from it.

ONNX Runtime's AveragePoolGrad reads a free batch as 0 and the next convolution's gradient then divides
by it, which kills the process; with a fixed batch it is right. Other lowerings need shapes too.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import shape_inference
from onnxcomp.errors import TrainingError
from onnxcomp.fold_shapes import fold_shapes
from onnxcomp.model import LABELS
from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import Lowering
from onnxcomp.training.lowering.parameters import Training


def fix_batch(graph: gs.Graph, image: str, batch_size: int) -> int:
    """Set the batch of the input ``image`` and of the labels to ``batch_size``; infer every shape.

    Returns:
        The number of nodes, all of which now have static shapes.
    """
    inputs = {tensor.name: tensor for tensor in graph.inputs}
    old = inputs[image].shape[0]
    if isinstance(old, int):
        _change_targets(graph, image, old, batch_size)
        _spread_tokens(graph, old, batch_size)
    inputs[image].shape = [batch_size, *inputs[image].shape[1:]]
    if LABELS in inputs:
        inputs[LABELS].shape = [batch_size]
    shape_inference.fill(graph)
    return len(graph.nodes)


def fix_teacher(graph: gs.Graph, image: str, batch_size: int) -> None:
    """The same for a teacher that was cut off; its outputs have static shapes then."""
    fix_batch(graph, image, batch_size)
    fold_shapes(graph)


def _change_targets(graph: gs.Graph, image: str, old: int, new: int) -> None:
    """A file exported at a fixed batch also holds it in the targets of its Reshape and Expand nodes.

    The first axis of what does not depend on the image is no batch, unless it is spread over one.
    """
    batched = {image}
    for node in graph.nodes:
        of_batch = any(tensor.name in batched for tensor in node.inputs)
        if (of_batch or node.op == "Expand") and _holds_batch(node, old):
            target = node.inputs[1].values
            node.inputs[1] = edit.integers(f"{node.name}.shape", [new, *target[1:].tolist()])
            of_batch = True
        if of_batch:
            batched.update(tensor.name for tensor in node.outputs)


def _holds_batch(node: gs.Node, old: int) -> bool:
    if node.op not in ("Reshape", "Expand") or not isinstance(node.inputs[1], gs.Constant):
        return False
    shape, target = node.inputs[0].shape, node.inputs[1].values
    first = old if node.op == "Reshape" else 1
    return bool(shape and shape[0] == first and len(target) and target[0] == old)


def _spread_tokens(graph: gs.Graph, old: int, new: int) -> None:
    """At a batch of 1 the class token is concatenated as it is, (1, 1, D); others need one an image."""
    for node in list(graph.nodes):
        if old != 1 or node.op != "Concat" or node.attrs["axis"] == 0:
            continue
        tokens = [not t.inputs and t.dtype == np.float32 and bool(t.shape) for t in node.inputs]
        if all(tokens):
            continue
        for index, token in enumerate(tokens):
            tensor = node.inputs[index]
            if token and tensor.shape[0] == 1:
                name, shape = f"{node.name}.token{index}", [new, *tensor.shape[1:]]
                target = edit.integers(f"{name}.shape", shape)
                wide = edit.insert(graph, "Expand", [tensor, target], edit.variable(name, shape=shape))
                node.inputs[index] = wide
    graph.toposort()


def _lower(training: Training) -> int:
    if training.teacher is not None:
        fix_teacher(training.teacher, training.image, training.batch_size)
        known = {tensor.name: tensor for tensor in training.teacher.outputs}
        for tensor in training.graph.inputs:
            if tensor.name in known:
                tensor.shape, tensor.dtype = known[tensor.name].shape, known[tensor.name].dtype
    count = fix_batch(training.graph, training.image, training.batch_size)
    for node in training.graph.nodes:
        _check_size(node)
    return count


def _check_size(node: gs.Node) -> None:
    """Refuse a Reshape for another batch, which ONNX Runtime would only find out in the first step."""
    if node.op != "Reshape":
        return
    before, after = node.inputs[0].shape, node.outputs[0].shape
    static = all(shape is not None and all(isinstance(n, int) for n in shape) for shape in (before, after))
    if static and math.prod(before) != math.prod(after):
        raise TrainingError(
            f"its shape is that of another batch: {list(before)} cannot become {list(after)}",
            where=f"node {node.name}",
            fix="export the network with a free batch, or give the --batch-size that it was exported with",
        )


LOWERING = Lowering(
    "static batch", "always: shapes are worked out, and pooling gradients need a fixed batch", _lower
)
