"""Writing one operator as several in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxcomp import graphs

Given: TypeAlias = gs.Tensor | NDArray[Any] | float | Sequence[int]


class Pieces:
    """Writes the nodes that compute what ``node`` did; their names begin with its name.

    Attributes:
        node: goes with :meth:`close`.
    """

    def __init__(self, graph: gs.Graph, node: gs.Node) -> None:
        self.node = node
        self._graph, self._taken = graph, set(graph.tensors())
        self._stem = node.name or node.outputs[0].name

    def __call__(self, op: str, what: str, *inputs: Given, **attributes: Any) -> gs.Variable:
        """Add a node called after ``what`` it gives; numbers are float32 scalars, lists int64 vectors."""
        name = graphs.free_name(f"{self._stem}/{what}", self._taken)
        read = [self._tensor(f"{name}.{index}", given) for index, given in enumerate(inputs)]
        output = gs.Variable(name, np.int64 if op == "Shape" else np.float32)
        self._graph.nodes.append(gs.Node(op, name, attributes, read, [output]))
        return output

    def _tensor(self, name: str, given: Given) -> gs.Tensor:
        if isinstance(given, gs.Tensor):
            return given
        if not isinstance(given, np.ndarray):
            given = np.asarray(given, np.float32 if isinstance(given, int | float) else np.int64)
        return gs.Constant(graphs.free_name(name, self._taken), given)

    def close(self, result: gs.Variable) -> None:
        """Let the node that gives ``result`` give what :attr:`node` gave, which goes; the caller sorts."""
        output, last = self.node.outputs[0], result.inputs[0]
        self.node.outputs.clear()
        self.node.inputs.clear()
        self._graph.nodes.remove(self.node)
        last.outputs.clear()
        last.outputs.append(output)
