"""Hints (Romero et al. 2015): the teacher's hidden tensors themselves."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from onnxcomp.losses import add_node, scalar
from onnxcomp.passes.distill.losses.mean import mean

HINTS = "loss/hints"


def hints(graph: gs.Graph, pairs: Sequence[tuple[gs.Tensor, gs.Tensor]]) -> gs.Variable:
    """``1/2 || t - r(s) ||^2`` of (student, teacher) tensors, mean over elements and pairs.

    Romero et al. 2015 (FitNets), arXiv 1412.6550, eq. 3, where r is the regressor: here the connector that
    the student's tensor has passed already. The paper sums over elements; the mean here keeps the weight
    independent of the network's size.

    Args:
        pairs: tensors of equal shapes.
    """
    terms = [_half_square(graph, f"{HINTS}/{i}", s, t) for i, (s, t) in enumerate(pairs)]
    return mean(graph, HINTS, terms)


def _half_square(graph: gs.Graph, name: str, student: gs.Tensor, teacher: gs.Tensor) -> gs.Variable:
    difference = add_node(graph, "Sub", f"{name}/difference", [student, teacher])
    square = add_node(graph, "Mul", f"{name}/square", [difference, difference])
    whole = add_node(graph, "ReduceMean", f"{name}/whole", [square], keepdims=0)
    return add_node(graph, "Mul", f"{name}/half", [whole, scalar(f"{name}/share", 0.5)])
