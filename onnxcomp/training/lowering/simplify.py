"""Operators without a gradient in ONNX Runtime, written with operators that have one."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import Lowering


def lower_simple_ops(graph: gs.Graph) -> int:
    """Replace Sum, Mean, HardSigmoid and HardSwish outside the teacher; returns how many."""
    rules = {
        "Sum": _sum,
        "Mean": _mean,
        "HardSigmoid": _hard_sigmoid,
        "HardSwish": _hard_swish,
    }
    nodes = [n for n in graph.nodes if n.op in rules and not n.name.startswith(graphs.TEACHER_PREFIX)]
    for node in nodes:
        rules[node.op](graph, node)
    if nodes:
        edit.settle(graph)
    return len(nodes)


def lower_loss(graph: gs.Graph) -> int:
    """Give SoftmaxCrossEntropyLoss the second output that its gradient reads; returns how many."""
    nodes = [n for n in graph.nodes if n.op == "SoftmaxCrossEntropyLoss" and len(n.outputs) == 1]
    for node in nodes:
        node.outputs.append(edit.variable(f"{node.outputs[0].name}.log_prob", node.inputs[0]))
    return len(nodes)


def _sum(graph: gs.Graph, node: gs.Node) -> None:
    inputs = list(node.inputs)
    _chain(graph, inputs, edit.take_output(node))


def _mean(graph: gs.Graph, node: gs.Node) -> None:
    inputs = list(node.inputs)
    output = edit.take_output(node)
    total = _chain(graph, inputs, edit.variable(f"{output.name}.total", output))
    count = edit.scalar(f"{output.name}.count", len(inputs))
    edit.insert(graph, "Div", [total, count], output)


def _chain(graph: gs.Graph, inputs: list[gs.Tensor], output: gs.Tensor) -> gs.Tensor:
    if len(inputs) == 1:
        return edit.insert(graph, "Identity", inputs, output)
    total = inputs[0]
    for index, term in enumerate(inputs[1:-1]):
        total = edit.insert(graph, "Add", [total, term], edit.variable(f"{output.name}.{index}"))
    return edit.insert(graph, "Add", [total, inputs[-1]], output)


def _hard_sigmoid(graph: gs.Graph, node: gs.Node) -> None:
    alpha, beta = node.attrs.get("alpha", 0.2), node.attrs.get("beta", 0.5)
    source = node.inputs[0]
    _clipped_line(graph, source, edit.take_output(node), alpha, beta)


def _hard_swish(graph: gs.Graph, node: gs.Node) -> None:
    source = node.inputs[0]
    output = edit.take_output(node)
    gate = _clipped_line(graph, source, edit.variable(f"{output.name}.gate", source), 1 / 6, 0.5)
    edit.insert(graph, "Mul", [source, gate], output)


def _clipped_line(
    graph: gs.Graph, source: gs.Tensor, output: gs.Tensor, alpha: float, beta: float
) -> gs.Tensor:
    """``clip(alpha * x + beta, 0, 1)``."""
    name = output.name
    slope, offset = edit.scalar(f"{name}.alpha", alpha), edit.scalar(f"{name}.beta", beta)
    scaled = edit.insert(graph, "Mul", [source, slope], edit.variable(f"{name}.scaled", source))
    line = edit.insert(graph, "Add", [scaled, offset], edit.variable(f"{name}.line", source))
    limits = [edit.scalar(f"{name}.low", 0), edit.scalar(f"{name}.high", 1)]
    return edit.insert(graph, "Clip", [line, *limits], output)


OPERATORS = Lowering(
    "simple operators",
    "Sum, Mean, HardSigmoid and HardSwish, which have no gradient",
    lambda training: lower_simple_ops(training.graph),
)
LOSS = Lowering(
    "loss",
    "SoftmaxCrossEntropyLoss with one output, of which the gradient reads the second",
    lambda training: lower_loss(training.graph),
)
