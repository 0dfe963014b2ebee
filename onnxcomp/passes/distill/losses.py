"""Distillation losses as subgraphs of standard ONNX nodes, each with a scalar output."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.losses import add_node, scalar

SOFT_TARGETS = "loss/soft_targets"
BOUNDARY = "loss/boundary"


def soft_targets(graph: gs.Graph, student: gs.Tensor, teacher: gs.Tensor, temperature: float) -> gs.Variable:
    """``T^2 mean_n KL(softmax(teacher / T) || softmax(student / T))`` of logits (N, classes).

    Hinton, Vinyals & Dean 2015, arXiv 1503.02531, section 2: the factor T^2 keeps the gradient's
    size when the temperature changes. The teacher's entropy is part of the value, so a student
    equal to its teacher has a loss of 0.
    """
    name = SOFT_TARGETS
    inverse = scalar(f"{name}/inverse_temperature", 1 / temperature)
    student_log = add_node(
        graph,
        "LogSoftmax",
        f"{name}/student",
        [_scale(graph, f"{name}/student_logits", student, inverse)],
        axis=-1,
    )
    teacher_log = add_node(
        graph,
        "LogSoftmax",
        f"{name}/teacher",
        [_scale(graph, f"{name}/teacher_logits", teacher, inverse)],
        axis=-1,
    )
    probability = add_node(graph, "Exp", f"{name}/probability", [teacher_log])
    difference = add_node(graph, "Sub", f"{name}/difference", [teacher_log, student_log])
    product = add_node(graph, "Mul", f"{name}/product", [probability, difference])
    axes = gs.Constant(f"{name}/axes", np.array([1], np.int64))
    divergence = add_node(graph, "ReduceSum", f"{name}/divergence", [product, axes], keepdims=0)
    mean = add_node(graph, "ReduceMean", f"{name}/mean", [divergence], keepdims=0)
    return _scale(graph, name, mean, scalar(f"{name}/square", temperature**2))


def boundary(graph: gs.Graph, pairs: list[tuple[gs.Tensor, gs.Tensor]], margin: float) -> gs.Variable:
    """Activation-boundary loss of (student, teacher) pre-activations, mean over elements and pairs.

    Heo et al. 2019, arXiv 1811.03233, eq. 4:
    ``|| rho(t) max(0, m - s) + (1 - rho(t)) max(0, m + s) ||^2`` with ``rho(t) = 1`` where the
    teacher's neuron is active (t > 0), else 0. The paper sums over neurons; the mean here keeps the
    weight independent of the network's size.
    """
    terms = [_hinge(graph, f"{BOUNDARY}/{i}", s, t, margin) for i, (s, t) in enumerate(pairs)]
    total = terms[0]
    for index, term in enumerate(terms[1:], start=1):
        total = add_node(graph, "Add", f"{BOUNDARY}/{index}/sum", [total, term])
    return _scale(graph, BOUNDARY, total, scalar(f"{BOUNDARY}/share", 1 / len(pairs)))


def _hinge(graph: gs.Graph, name: str, student: gs.Tensor, teacher: gs.Tensor, margin: float) -> gs.Variable:
    zero, two, one = (scalar(f"{name}/{word}", v) for word, v in (("zero", 0), ("two", 2), ("one", 1)))
    active = gs.Variable(f"{name}/active", np.bool_)
    graph.nodes.append(gs.Node("Greater", f"{name}/active", inputs=[teacher, zero], outputs=[active]))
    rho = add_node(graph, "Cast", f"{name}/rho", [active], to=1)
    # +1 where the teacher is active, -1 where it is not: both hinges in one expression.
    sign = add_node(graph, "Sub", f"{name}/sign", [_scale(graph, f"{name}/twice", rho, two), one])
    signed = add_node(graph, "Mul", f"{name}/signed", [student, sign])
    gap = add_node(graph, "Sub", f"{name}/gap", [scalar(f"{name}/margin", margin), signed])
    hinge = add_node(graph, "Relu", f"{name}/hinge", [gap])
    square = add_node(graph, "Mul", f"{name}/square", [hinge, hinge])
    return add_node(graph, "ReduceMean", f"{name}/mean", [square], keepdims=0)


def _scale(graph: gs.Graph, name: str, tensor: gs.Tensor, factor: gs.Constant) -> gs.Variable:
    return add_node(graph, "Mul", name, [tensor, factor])
