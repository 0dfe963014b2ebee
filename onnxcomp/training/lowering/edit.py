"""Small edits that every lowering needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

MICROSOFT = "com.microsoft"
PREFIX = "training/"  # of every tensor a lowering adds, so that none meets a name of the user's


def insert(
    graph: gs.Graph,
    op: str,
    inputs: Sequence[gs.Tensor],
    output: gs.Tensor,
    *,
    domain: str = "",
    **attrs: Any,
) -> gs.Variable:
    """Append a node named after its ``output`` and return that tensor; the caller sorts the graph."""
    graph.nodes.append(gs.Node(op, output.name, attrs, list(inputs), [output], domain=domain))
    return output


def variable(name: str, like: gs.Tensor | None = None, shape: Sequence[int] | None = None) -> gs.Variable:
    """A float32 tensor of the given shape, or that of ``like``."""
    if shape is None and like is not None:
        shape = like.shape
    return gs.Variable(_own(name), np.float32, None if shape is None else list(shape))


def integers(name: str, values: Sequence[int]) -> gs.Constant:
    """An int64 vector."""
    return gs.Constant(_own(name), np.array(values, np.int64))


def scalar(name: str, value: float) -> gs.Constant:
    """A float32 scalar."""
    return gs.Constant(_own(name), np.array(value, np.float32))


def _own(name: str) -> str:
    return name if name.startswith(PREFIX) else PREFIX + name


def take_output(node: gs.Node) -> gs.Tensor:
    """Free the first output of ``node`` for another node; ``node`` is dead afterwards."""
    output = node.outputs[0]
    node.outputs.clear()
    node.inputs.clear()
    return output


def settle(graph: gs.Graph) -> None:
    """Drop the dead nodes and sort the rest; graphsurgeon's own cleanup takes quadratic time."""
    graph.nodes = [node for node in graph.nodes if node.outputs]
    graph.toposort()


def drop_unread(graph: gs.Graph) -> None:
    """Drop the nodes and inputs that no output of the graph depends on, and sort the rest."""
    graph.toposort()
    wanted = {id(tensor) for tensor in graph.outputs}
    for node in reversed(graph.nodes):
        if any(id(tensor) in wanted for tensor in node.outputs):
            wanted.update(id(tensor) for tensor in node.inputs)
        else:
            node.inputs.clear()
            node.outputs.clear()
    graph.nodes = [node for node in graph.nodes if node.outputs]
    graph.inputs = [tensor for tensor in graph.inputs if tensor.outputs]


def reduce_mean(
    graph: gs.Graph, tensor: gs.Tensor, output: gs.Tensor, axes: Sequence[int], keepdims: bool
) -> gs.Tensor:
    """ReduceMean, whose axes are an attribute up to opset 17 and an input from 18 on."""
    if graph.opset >= 18:
        inputs = [tensor, integers(f"{output.name}.axes", axes)]
        return insert(graph, "ReduceMean", inputs, output, keepdims=int(keepdims))
    return insert(graph, "ReduceMean", [tensor], output, axes=list(axes), keepdims=int(keepdims))


def use_microsoft(graph: gs.Graph) -> None:
    """Declare the operator set of ONNX Runtime's own operators."""
    domains = list(graph.import_domains or [onnx.helper.make_opsetid("", graph.opset)])
    if all(entry.domain != MICROSOFT for entry in domains):
        domains.append(onnx.helper.make_opsetid(MICROSOFT, 1))
    graph.import_domains = domains
