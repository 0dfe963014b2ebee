"""Activation boundaries (Heo et al. 2019): which of the teacher's hidden neurons are active."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.graphs import TEACHER_PREFIX
from onnxcomp.losses import add_node, scalar
from onnxcomp.passes.distill.losses.mean import mean

BOUNDARY = "loss/boundary"


def boundary(graph: gs.Graph, pairs: Sequence[tuple[gs.Tensor, gs.Tensor]], margin: float) -> gs.Variable:
    """Activation-boundary loss of (student, teacher) pre-activations, mean over elements and pairs.

    Heo et al. 2019, arXiv 1811.03233, eq. 5, the "alternative loss":
    ``|| rho(t) max(0, m - s) + (1 - rho(t)) max(0, m + s) ||^2`` with ``rho(t) = 1`` where the
    teacher's neuron is active (t > 0), else 0. The paper sums over neurons; the mean here keeps the
    weight independent of the network's size.

    Args:
        pairs: tensors of equal shapes (N, C, H, W) or (N, C).
        margin: above 0.
    """
    terms = [_hinge(graph, f"{BOUNDARY}/{i}", s, t, margin) for i, (s, t) in enumerate(pairs)]
    return mean(graph, BOUNDARY, terms)


def _hinge(graph: gs.Graph, name: str, student: gs.Tensor, teacher: gs.Tensor, margin: float) -> gs.Variable:
    active = gs.Variable(f"{TEACHER_PREFIX}{name}/active", np.bool_)
    zero = scalar(f"{TEACHER_PREFIX}{name}/zero", 0)
    graph.nodes.append(gs.Node("Greater", active.name, inputs=[teacher, zero], outputs=[active]))
    rho = add_node(graph, "Cast", f"{name}/rho", [active], to=1)
    # +1 where the teacher is active, -1 where it is not: both hinges in one expression.
    twice = add_node(graph, "Mul", f"{name}/twice", [rho, scalar(f"{name}/two", 2)])
    sign = add_node(graph, "Sub", f"{name}/sign", [twice, scalar(f"{name}/one", 1)])
    signed = add_node(graph, "Mul", f"{name}/signed", [student, sign])
    gap = add_node(graph, "Sub", f"{name}/gap", [scalar(f"{name}/margin", margin), signed])
    hinge = add_node(graph, "Relu", f"{name}/hinge", [gap])
    square = add_node(graph, "Mul", f"{name}/square", [hinge, hinge])
    return add_node(graph, "ReduceMean", f"{name}/mean", [square], keepdims=0)
