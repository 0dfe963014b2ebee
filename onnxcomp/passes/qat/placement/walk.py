"""Small questions about activations that the placements ask."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx_graphsurgeon as gs

from onnxcomp import graphs

PASSED = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Dropout", "MaxPool")
"""Operators that move values and compute none: Q/DQ may stand before or behind them."""
AVERAGING = ("AveragePool", "GlobalAveragePool")
SPATIAL = [2, 3]


def producer(tensor: gs.Tensor) -> gs.Node | None:
    """The node that computes ``tensor``; None for an input or a constant."""
    return tensor.inputs[0] if tensor.inputs else None


def readers(tensor: gs.Tensor) -> list[gs.Node]:
    """The student's nodes that read ``tensor``."""
    return [node for node in tensor.outputs if graphs.is_student(node)]


def is_activation(tensor: gs.Tensor) -> bool:
    """Neither constant nor a weight behind mask and Q/DQ."""
    return not tensor.is_empty() and graphs.constant_behind(tensor) is None


def is_sum(node: gs.Node) -> bool:
    """An Add of two activations of one shape: a residual connection."""
    if node.op != "Add" or not all(is_activation(tensor) for tensor in node.inputs):
        return False
    left, right = (tensor.shape for tensor in node.inputs)
    return left is None or right is None or list(left) == list(right)


def is_average(node: gs.Node) -> bool:
    """Average pooling, also where exporters write it as the mean over height and width."""
    if node.op != "ReduceMean":
        return node.op in AVERAGING
    rank = len(node.inputs[0].shape or ()) if node.inputs else 0
    return rank == 4 and sorted(int(axis) % rank for axis in _axes(node)) == SPATIAL


def _axes(node: gs.Node) -> Sequence[int]:
    """Those that a reduction names: an attribute up to opset 17, an input from 18 on."""
    tensor = node.inputs[1] if len(node.inputs) > 1 else None
    if isinstance(tensor, gs.Constant):
        return [int(axis) for axis in tensor.values.reshape(-1)]
    return node.attrs.get("axes") or ()


def joins_channels(node: gs.Node) -> bool:
    """A Concat of several images' channels."""
    return (
        node.op == "Concat"
        and len(node.inputs) > 1
        and int(node.attrs.get("axis", 0)) in (1, -3)
        and len(node.outputs[0].shape or ()) == 4  # of token sequences it joins tokens
        and all(is_activation(tensor) for tensor in node.inputs)
    )


def is_standalone(node: gs.Node) -> bool:
    """A BatchNormalization that cannot be folded into a convolution before it."""
    if node.op != "BatchNormalization":
        return False
    before = producer(node.inputs[0])
    return (
        before is None
        or before.op not in ("Conv", "ConvTranspose", "Gemm")
        or len(readers(node.inputs[0])) > 1
    )


def from_convolution(tensor: gs.Tensor, layers: Collection[int]) -> bool:
    """Whether ``tensor`` comes from one of the convolutions, through BatchNormalization at most.

    Args:
        layers: ids of nodes.
    """
    while len(readers(tensor)) == 1:
        node = producer(tensor)
        if node is None or node.op != "BatchNormalization":
            return node is not None and node.op == "Conv" and id(node) in layers
        tensor = node.inputs[0]
    return False


def depths(graph: gs.Graph) -> dict[str, int]:
    """Nodes on the longest way from an input to each tensor, by name; the graph is sorted."""
    found: dict[str, int] = {}
    for node in graph.nodes:
        depth = 1 + max((found.get(tensor.name, 0) for tensor in node.inputs), default=0)
        found.update(dict.fromkeys((tensor.name for tensor in node.outputs), depth))
    return found
