"""Soft targets (Hinton et al. 2015): the teacher's softened probabilities."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.graphs import TEACHER_PREFIX
from onnxcomp.losses import add_node, scalar

SOFT_TARGETS = "loss/soft_targets"


def soft_targets(graph: gs.Graph, student: gs.Tensor, teacher: gs.Tensor, temperature: float) -> gs.Variable:
    """``T^2 mean_n KL(softmax(teacher / T) || softmax(student / T))`` of logits (N, classes).

    Hinton, Vinyals & Dean 2015, arXiv 1503.02531, section 2: the factor T^2 keeps the gradient's
    size when the temperature changes. The teacher's entropy is part of the value, so a student
    equal to its teacher has a loss of 0.
    """
    name = SOFT_TARGETS
    student_log = _log_probability(graph, name, student, temperature)
    teacher_log = _log_probability(graph, f"{TEACHER_PREFIX}{name}", teacher, temperature)
    probability = add_node(graph, "Exp", f"{name}/probability", [teacher_log])
    difference = add_node(graph, "Sub", f"{name}/difference", [teacher_log, student_log])
    product = add_node(graph, "Mul", f"{name}/product", [probability, difference])
    axes = gs.Constant(f"{name}/axes", np.array([1], np.int64))
    divergence = add_node(graph, "ReduceSum", f"{name}/divergence", [product, axes], keepdims=0)
    mean = add_node(graph, "ReduceMean", f"{name}/mean", [divergence], keepdims=0)
    return add_node(graph, "Mul", name, [mean, scalar(f"{name}/square", temperature**2)])


def _log_probability(graph: gs.Graph, name: str, logits: gs.Tensor, temperature: float) -> gs.Variable:
    inverse = scalar(f"{name}/inverse_temperature", 1 / temperature)
    softened = add_node(graph, "Mul", f"{name}/softened", [logits, inverse])
    return add_node(graph, "LogSoftmax", f"{name}/log_probability", [softened], axis=-1)
