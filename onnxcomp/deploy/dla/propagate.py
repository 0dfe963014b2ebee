"""Scales of tensors without Q/DQ: from those with, through operators that keep the range.

Three rules, of which the second is the hardware's (TensorRT Developer Guide 8.5, 12.1):

1. Relu, Clip, Reshape and their like: what is known on one side holds on the other. Behind a convolution the
   DLA computes Relu and Clip in the same pass, so the wider range before them is never stored.
2. INT8 pooling wants one scale before and behind, Concat one for all inputs and the output: all get the
   largest. Where known ones are further apart than :data:`APART` that costs too much: such run in FP16.
3. From DLA 3.13 (JetPack 6) a convolution that only an Add reads needs none: a scale of 1 stands for
   "accumulate and add, without rounding" (tools/qdq-translator/README.md of
   NVIDIA/Deep-Learning-Accelerator-SW, "Why is --add_unary_ew_scales_for_dla needed").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx_graphsurgeon as gs

KEEPING = (
    *("Clip", "Dropout", "Flatten", "Identity", "Relu"),
    *("Reshape", "Squeeze", "Transpose", "Unsqueeze"),
)
EQUAL = ("AveragePool", "Concat", "MaxPool")
APART = 2.0
"""The largest scale of those that become one, divided by the smallest: one bit is lost."""
UNARY = 1.0


def propagate(graph: gs.Graph, known: dict[str, float]) -> tuple[dict[str, float], list[str]]:
    """Find scales for all that can have one; the graph is not changed.

    Args:
        known: scales by the tensor's name.

    Returns:
        Those ``known``, made equal where they must be, and all that follow; and the names of the operators
        that would need equal ones but keep theirs.
    """
    scales = dict(known)
    _keep(graph, scales)
    equal = [node for node in graph.nodes if node.op in EQUAL and is_float(node.outputs[0])]
    apart = [node.name for node in equal if spread(node, scales) > APART]
    groups = _groups(node for node in equal if node.name not in apart)
    while True:
        before = dict(scales)
        for names in groups:
            found = [scales[name] for name in names if name in scales]
            if found:
                scales.update(dict.fromkeys(names, max(found)))
        _keep(graph, scales)
        if scales == before:
            return scales, apart


def _keep(graph: gs.Graph, scales: dict[str, float]) -> None:
    """Fill in what is missing on one side of an operator that keeps the range."""
    nodes = [node for node in graph.nodes if node.op in KEEPING]
    for node in (*nodes, *reversed(nodes)):
        sides = (node.inputs[0].name, node.outputs[0].name)
        for here, there in (sides, sides[::-1]):
            if here in scales:
                scales.setdefault(there, scales[here])


def ends(node: gs.Node) -> list[str]:
    """Names of the activations that ``node`` reads and of what it writes first."""
    return [tensor.name for tensor in (*node.inputs, node.outputs[0]) if is_activation(tensor)]


def spread(node: gs.Node, scales: Mapping[str, float]) -> float:
    """The largest known scale around ``node`` divided by the smallest; 1 where none is known."""
    found = [scales[name] for name in ends(node) if name in scales]
    return max(found) / min(found) if found else 1.0


def _groups(nodes: Iterable[gs.Node]) -> list[list[str]]:
    """Names of tensors that must share one scale; groups that meet are one."""
    groups: list[set[str]] = []
    for node in nodes:
        names = set(ends(node))
        met = [group for group in groups if group & names]
        groups = [group for group in groups if group not in met] + [names.union(*met)]
    return [sorted(group) for group in groups]


def unary(graph: gs.Graph, scales: dict[str, float], floats: Collection[int] = ()) -> dict[str, float]:
    """A scale of 1 for each convolution's output that only an Add reads, whose other input has a scale.

    Args:
        floats: ids of nodes in FP16, which accumulate no integers.
    """
    found: dict[str, float] = {}
    for node in graph.nodes:
        output = node.outputs[0]
        if node.op != "Conv" or id(node) in floats or output.name in scales or len(output.outputs) != 1:
            continue
        reader = output.outputs[0]
        others = [tensor.name for tensor in reader.inputs if tensor is not output]
        if reader.op == "Add" and len(others) == 1 and others[0] in scales:
            found[output.name] = UNARY
    return found


def is_activation(tensor: gs.Tensor) -> bool:
    """Neither constant nor absent, and of float32 as far as is known."""
    return isinstance(tensor, gs.Variable) and not tensor.is_empty() and is_float(tensor)


def is_float(tensor: gs.Tensor) -> bool:
    """float32, or of a type that is not known."""
    return tensor.dtype is None or tensor.dtype == np.float32
