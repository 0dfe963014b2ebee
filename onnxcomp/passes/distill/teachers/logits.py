"""What a teacher answers: logits before a last Softmax, in the order of the student's classes."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.errors import ModelError
from onnxcomp.graphs import free_name, rewire
from onnxcomp.model import Model

SOFTMAXES = ("Softmax", "LogSoftmax")
_OTHER_PROBABILITIES = ("Sigmoid", "HardSigmoid", "Hardmax")
# What may stand between a Softmax and the output and leaves each value as it is, but for rounding.
_CARRIERS = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "QuantizeLinear", "DequantizeLinear")
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


def refuse_probabilities(model: Model, where: str) -> None:
    """Refuse a network that ends in probabilities from which its logits cannot be had.

    Raises:
        ModelError: it ends in Sigmoid, HardSigmoid, Hardmax, a Softmax that is written out in several nodes
            or one that is not over the classes; names the node.
    """
    node = _last(model.logits)[0]
    if node is None:
        return
    if node.op in _OTHER_PROBABILITIES:
        what = f"ends in {node.op} (node {node.name})"
    elif _is_written_out(node):
        what = f"ends in a Softmax written out in several nodes (the last is {node.name})"
    elif node.op in SOFTMAXES and not _is_over_classes(node, model.num_classes):
        what = f"ends in a {node.op} that is not over its classes (node {node.name})"
    else:
        return
    raise ModelError(
        f"{what}, but a teacher gives logits", where=where, fix=f"export it without its last {node.op}"
    )


def _last(output: gs.Tensor) -> tuple[gs.Node | None, list[gs.Node]]:
    """The node that computes ``output``, and what only carries its values there, the last first."""
    carriers: list[gs.Node] = []
    tensor = output
    while tensor.inputs and tensor.inputs[0].op in _CARRIERS:
        carriers.append(tensor.inputs[0])
        tensor = tensor.inputs[0].inputs[0]
    return (tensor.inputs[0] if tensor.inputs else None), carriers


def _is_written_out(node: gs.Node) -> bool:
    """Whether it is the last of exp(x) / sum(exp(x))."""
    if node.op != "Div" or not all(tensor.inputs for tensor in node.inputs):
        return False
    top, below = (tensor.inputs[0] for tensor in node.inputs)
    return bool(top.op == "Exp" and below.op == "ReduceSum" and below.inputs[0] is node.inputs[0])


def _is_over_classes(node: gs.Node, classes: int) -> bool:
    shape = node.outputs[0].shape
    return shape is None or shape[node.attrs.get("axis", -1)] == classes


def cut_softmax(model: Model) -> str:
    """Let a network that ends in Softmax or LogSoftmax end before it, in place; returns which, or ``""``."""
    node, carriers = _last(model.logits)
    if node is None or node.op not in SOFTMAXES:
        return ""
    # A scale for probabilities is none for logits.
    for gone in (*(carrier for carrier in carriers if carrier.op in _QUANTIZERS), node):
        _bypass(model.graph, gone)
    model.logits.dtype = np.dtype(np.float32)
    model.graph.cleanup(remove_unused_graph_inputs=False)
    return str(node.op)


def _bypass(graph: gs.Graph, node: gs.Node) -> None:
    source, output = node.inputs[0], node.outputs[0]
    rewire(output, source, list(output.outputs))
    graph.outputs = [source if tensor is output else tensor for tensor in graph.outputs]
    node.inputs.clear()
    node.outputs.clear()


def reorder(model: Model, classes: tuple[str, ...]) -> bool:
    """Let the logits come in the order of ``classes``, the same set, in place; returns whether it changed."""
    if not classes or not model.classes or model.classes == classes:
        return False
    graph, taken = model.graph, set(model.graph.tensors())
    order = np.array([model.classes.index(name) for name in classes], np.int64)
    output = gs.Variable(free_name("adapt/classes", taken), np.float32, model.logits.shape)
    indices = gs.Constant(free_name("adapt/classes/order", taken), order)
    name = free_name("adapt/classes", {node.name for node in graph.nodes})
    graph.nodes.append(gs.Node("Gather", name, {"axis": 1}, [model.logits, indices], [output]))
    graph.outputs = [output]
    model.classes = classes
    return True
