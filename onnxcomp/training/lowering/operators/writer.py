"""What the rewrites of single operators share: find the nodes, and write others in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import Lowering

_ELEMENTWISE = """
    Abs Add Cast Clip Div Equal Exp FakeQuant Greater Less Log Mul Neg Sqrt Sub Tanh Where
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())


class Writer:
    """Writes the nodes that compute one tensor; their names begin with its name.

    Attributes:
        graph: that is extended; the caller sorts it.
        output: the tensor to compute, whose old node is gone.
    """

    def __init__(self, graph: gs.Graph, output: gs.Variable) -> None:
        self.graph, self.output = graph, output
        self._count = 0

    def __call__(
        self, op: str, *inputs: gs.Tensor | float | Sequence[int], dtype: Any = np.float32, **attrs: Any
    ) -> gs.Variable:
        """Add a node and return its new output; numbers are float32 scalars, lists are int64 vectors."""
        self._count += 1
        name = f"{self.output.name}.{self._count}.{op}"
        tensors = self._tensors(name, inputs)
        result = edit.variable(name, shape=_broadcast(tensors) if op in ELEMENTWISE else None)
        result.dtype = dtype
        return edit.insert(self.graph, op, tensors, result, **attrs)

    def into(self, op: str, *inputs: gs.Tensor | float | Sequence[int], **attrs: Any) -> None:
        """Add the node that computes :attr:`output`."""
        tensors = self._tensors(f"{self.output.name}.last", inputs)
        edit.insert(self.graph, op, tensors, self.output, **attrs)

    def _tensors(self, name: str, inputs: Sequence[gs.Tensor | float | Sequence[int]]) -> list[gs.Tensor]:
        tensors = []
        for index, value in enumerate(inputs):
            if isinstance(value, gs.Tensor):
                tensors.append(value)
            elif isinstance(value, int | float):
                tensors.append(edit.scalar(f"{name}.{index}", value))
            else:
                tensors.append(edit.integers(f"{name}.{index}", value))
        return tensors


def _broadcast(tensors: Sequence[gs.Tensor]) -> tuple[int, ...] | None:
    """The shape of an elementwise result, by which later lowerings know what they may take along."""
    if any(tensor.shape is None for tensor in tensors):
        return None
    return np.broadcast_shapes(*(tuple(tensor.shape) for tensor in tensors))


Inputs = list[gs.Tensor]
Rule = Callable[[Writer, Inputs, dict[str, Any]], None]
"""Writes one operator: gets the node's inputs and attributes."""


def rewrite(
    graph: gs.Graph, rules: Mapping[str, Rule], condition: Callable[[gs.Node], bool] = lambda node: True
) -> int:
    """Rewrite the float nodes outside the teacher that have a rule; returns how many.

    Args:
        graph: with the static shape and type of every tensor.
        rules: by operator.
        condition: which of these nodes to take.
    """
    nodes = [node for node in graph.nodes if node.op in rules and trained(node) and condition(node)]
    for node in nodes:
        rule, inputs = rules[node.op], list(node.inputs)
        rule(Writer(graph, edit.take_output(node)), inputs, node.attrs)
    if nodes:
        edit.settle(graph)
    return len(nodes)


def trained(node: gs.Node) -> bool:
    """A standard operator that computes floats."""
    return not node.domain and bool(node.outputs) and node.outputs[0].dtype in (None, np.float32)


def lowering(
    name: str,
    when: str,
    rules: Mapping[str, Rule],
    condition: Callable[[gs.Node], bool] = lambda node: True,
) -> Lowering:
    """The lowering that applies ``rules``; see :func:`rewrite`."""
    return Lowering(name, when, lambda training: rewrite(training.graph, rules, condition))


def constant(tensors: Sequence[gs.Tensor], index: int) -> list[Any] | None:
    """The values of input ``index`` as a flat list, or None where it is absent or not a constant."""
    if index >= len(tensors) or not isinstance(tensors[index], gs.Constant):
        return None
    values: list[Any] = tensors[index].values.reshape(-1).tolist()
    return values


def absent(tensors: Sequence[gs.Tensor], index: int) -> bool:
    """Whether an optional input is not given."""
    return index >= len(tensors) or tensors[index].is_empty()
