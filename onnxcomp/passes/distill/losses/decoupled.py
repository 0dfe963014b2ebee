"""Decoupled knowledge distillation (Zhao et al. 2022): the target class, and the others among themselves."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.errors import PassError
from onnxcomp.losses import add_node, scalar

DECOUPLED = "loss/decoupled"
AWAY = -1e30
"""Stands for the target's softened logit among the others: its probability is 0 whatever they are, where
-inf would make ``0 * (-inf + inf)`` of its part of the divergence."""


def decoupled(
    graph: gs.Graph,
    student: gs.Tensor,
    teacher: gs.Tensor,
    target: gs.Tensor,
    classes: int,
    temperature: float,
    target_weight: float,
    others_weight: float,
) -> gs.Variable:
    """``T^2 (target_weight KL(b_t || b_s) + others_weight KL(q_t || q_s))``, mean over images.

    Zhao et al. 2022, arXiv 2203.08679, eq. 7, times T^2 as in their published code: b is the probability of
    the target class and of all others together (eq. 3), q that of each other class among the others (eq. 4).
    By logarithms of sums of exponentials, so that ``1 - p`` keeps its digits where p is nearly 1. The
    teacher's part depends on the target too, so it is named ``loss/...`` and not ``teacher/...``.

    Args:
        student, teacher: logits float32 (N, classes).
        target: int64 (N,).
        classes: at least 2. Of two, one other is left, and the second part is 0.
        target_weight, others_weight: not both 0.

    Raises:
        PassError: both weights are 0.
    """
    if not target_weight and not others_weight:
        raise PassError(
            "target_weight and others_weight are both 0",
            where="distill: decoupled",
            fix="give one of them a weight",
        )
    name = DECOUPLED
    numbers = gs.Constant(f"{name}/classes", np.arange(classes, dtype=np.int64)[None])
    axis = gs.Constant(f"{name}/column", np.array([1], np.int64))
    column = _typed(graph, "Unsqueeze", f"{name}/target", [target, axis], np.int64)
    equal = _typed(graph, "Equal", f"{name}/is_target", [column, numbers], np.bool_)
    hot = add_node(graph, "Cast", f"{name}/hot", [equal], to=1)
    own = _logarithms(graph, f"{name}/student", student, equal, hot, temperature)
    other = _logarithms(graph, f"{name}/teacher", teacher, equal, hot, temperature)
    parts = ("hit", "miss", "others")
    hit, miss, others = (_divergence(graph, f"{name}/{p}", other[p], own[p]) for p in parts)
    binary = add_node(graph, "Add", f"{name}/binary", [hit, miss])
    square = temperature**2
    first = add_node(graph, "Mul", f"{name}/tckd", [binary, scalar(f"{name}/a", target_weight * square)])
    second = add_node(graph, "Mul", f"{name}/nckd", [others, scalar(f"{name}/b", others_weight * square)])
    return add_node(graph, "Add", name, [first, second])


def _logarithms(
    graph: gs.Graph, name: str, logits: gs.Tensor, equal: gs.Tensor, hot: gs.Tensor, temperature: float
) -> dict[str, gs.Variable]:
    """Of the probabilities of the target (N, 1), all others (N, 1), and each among the others (N, C)."""
    inverse = scalar(f"{name}/inverse_temperature", 1 / temperature)
    soft = add_node(graph, "Mul", f"{name}/soft", [logits, inverse])
    apart = add_node(graph, "Where", f"{name}/apart", [equal, scalar(f"{name}/away", AWAY), soft])
    chosen = add_node(graph, "Mul", f"{name}/chosen", [soft, hot])
    axes = gs.Constant(f"{name}/axes", np.array([1], np.int64))
    score = add_node(graph, "ReduceSum", f"{name}/score", [chosen, axes], keepdims=1)
    rest = _log_sum(graph, f"{name}/rest", apart)
    found = {"others": add_node(graph, "LogSoftmax", f"{name}/others", [apart], axis=-1)}
    # log p = -log(1 + exp(rest - score)), and the same the other way round for log(1 - p).
    for part, one, two in (("hit", rest, score), ("miss", score, rest)):
        odds = add_node(graph, "Sub", f"{name}/{part}/odds", [one, two])
        loss = add_node(graph, "Softplus", f"{name}/{part}/loss", [odds])
        found[part] = add_node(graph, "Neg", f"{name}/{part}", [loss])
    return found


def _log_sum(graph: gs.Graph, name: str, tensor: gs.Tensor) -> gs.Variable:
    """``log sum exp`` over classes, (N, 1); its axes are an input from opset 18 on."""
    if graph.opset >= 18:
        axes = gs.Constant(f"{name}/axes", np.array([1], np.int64))
        return add_node(graph, "ReduceLogSumExp", name, [tensor, axes], keepdims=1)
    return add_node(graph, "ReduceLogSumExp", name, [tensor], axes=[1], keepdims=1)


def _divergence(graph: gs.Graph, name: str, teacher: gs.Tensor, student: gs.Tensor) -> gs.Variable:
    """``sum exp(t) (t - s)`` over classes, mean over images."""
    probability = add_node(graph, "Exp", f"{name}/probability", [teacher])
    difference = add_node(graph, "Sub", f"{name}/difference", [teacher, student])
    product = add_node(graph, "Mul", f"{name}/product", [probability, difference])
    axes = gs.Constant(f"{name}/axes", np.array([1], np.int64))
    each = add_node(graph, "ReduceSum", f"{name}/each", [product, axes], keepdims=0)
    return add_node(graph, "ReduceMean", f"{name}/mean", [each], keepdims=0)


def _typed(graph: gs.Graph, op: str, name: str, inputs: list[gs.Tensor], dtype: type) -> gs.Variable:
    output = gs.Variable(name, dtype)
    graph.nodes.append(gs.Node(op, name, inputs=inputs, outputs=[output]))
    return output
