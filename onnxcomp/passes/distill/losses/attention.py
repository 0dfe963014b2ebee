"""Attention transfer (Zagoruyko & Komodakis 2017): where in the image the teacher's neurons are active."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.graphs import TEACHER_PREFIX
from onnxcomp.losses import add_node, scalar
from onnxcomp.passes.distill.losses.mean import mean

ATTENTION = "loss/attention"
SMALLEST = 1e-24
"""Added to the squared length of a map, so that one of zeros has a direction: zeros. Its square root is far
below the length of any other map, whose value would otherwise depend on the size of the activations."""


def attention(graph: gs.Graph, pairs: Sequence[tuple[gs.Tensor, gs.Tensor]]) -> gs.Variable:
    """``1/2 || Q(s) / ||Q(s)|| - Q(t) / ||Q(t)|| ||^2`` of hidden tensors, mean over images and pairs.

    Zagoruyko & Komodakis 2017, arXiv 1612.03928, eq. 2, with ``Q = vec(sum over channels of squares)``, their
    F_sum^2. The equation has the norm of the difference; their published code squares it, as this does: it is
    smooth where student and teacher agree.

    Args:
        pairs: tensors (N, C, H, W) of equal heights and widths; their channels may differ.
    """
    terms = []
    for index, (student, teacher) in enumerate(pairs):
        name = f"{ATTENTION}/{index}"
        own = _direction(graph, f"{name}/student", student)
        other = _direction(graph, f"{TEACHER_PREFIX}{name}", teacher)
        difference = add_node(graph, "Sub", f"{name}/difference", [own, other])
        square = add_node(graph, "Mul", f"{name}/square", [difference, difference])
        each = add_node(graph, "ReduceSum", f"{name}/each", [square, _axes(f"{name}/axes", 1)], keepdims=0)
        whole = add_node(graph, "ReduceMean", f"{name}/mean", [each], keepdims=0)
        terms.append(add_node(graph, "Mul", f"{name}/half", [whole, scalar(f"{name}/share", 0.5)]))
    return mean(graph, ATTENTION, terms)


def _direction(graph: gs.Graph, name: str, tensor: gs.Tensor) -> gs.Variable:
    """The map of each image, flat and of length 1."""
    square = add_node(graph, "Mul", f"{name}/activity", [tensor, tensor])
    summed = add_node(graph, "ReduceSum", f"{name}/map", [square, _axes(f"{name}/channel", 1)], keepdims=0)
    flat = add_node(graph, "Flatten", f"{name}/flat", [summed], axis=1)
    power = add_node(graph, "Mul", f"{name}/power", [flat, flat])
    total = add_node(graph, "ReduceSum", f"{name}/total", [power, _axes(f"{name}/position", 1)], keepdims=1)
    safe = add_node(graph, "Add", f"{name}/safe", [total, scalar(f"{name}/smallest", SMALLEST)])
    length = add_node(graph, "Sqrt", f"{name}/length", [safe])
    return add_node(graph, "Div", f"{name}/direction", [flat, length])


def _axes(name: str, *axes: int) -> gs.Constant:
    return gs.Constant(name, np.array(axes, np.int64))
