"""Relational knowledge distillation (Park et al. 2019): how images lie to each other, not where each lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.errors import PassError
from onnxcomp.losses import add_node, scalar

RELATIONS = "loss/relations"
NEAR = 1e-3
"""Images nearer than this share of the batch's root mean square distance have no direction."""
SMALLEST = 1e-15
"""Added to the mean distance, which is 0 where all images are equal. Its square is still a float32."""


def relations(
    graph: gs.Graph, student: gs.Tensor, teacher: gs.Tensor, distance: float, angle: float
) -> gs.Variable:
    """``distance * l(psi_D(t), psi_D(s)) + angle * l(psi_A(t), psi_A(s))``, l the Huber loss with delta 1.

    Park et al. 2019, arXiv 1904.05068: psi_D (eq. 5) is the distance of two images over the mean distance
    of all pairs of the batch, psi_A (eq. 8) the cosine of the angle at the middle one of three. The paper
    sums over pairs and triplets of different images (eq. 7 and 9); the means here keep the weight independent
    of the batch's size. A batch without pairs or triplets has the loss 0.

    The gradient of a direction is one over the distance: an image that comes twice in a batch would outweigh
    all others by the rounding of its embedding. So where two embeddings (nearly) coincide, the cosine is 0
    and has no gradient, and where they are equal, neither has their distance.

    Args:
        student, teacher: float32 (N, D) or (N, C, H, W), whose widths may differ. A step takes memory in
            proportion to N * N * (N + D).
        distance, angle: weights of the two parts, not both 0; 0 leaves one out.

    Raises:
        PassError: both weights are 0.
    """
    if not distance and not angle:
        raise PassError(
            "distance and angle are both 0", where="distill: relations", fix="give one of them a weight"
        )
    own, other = (
        _Batch(graph, f"{RELATIONS}/{w}", t) for w, t in (("student", student), ("teacher", teacher))
    )
    pair = own.different()
    parts = []
    if distance:
        loss = _huber(graph, f"{RELATIONS}/distance", own.distances(pair), other.distances(pair), pair)
        parts.append((loss, distance))
    if angle:
        loss = _huber(graph, f"{RELATIONS}/angle", own.angles(), other.angles(), own.triplets(pair))
        parts.append((loss, angle))
    if len(parts) == 1:
        return _share(graph, RELATIONS, *parts[0])
    shares = [_share(graph, f"{loss.name}/weighted", loss, weight) for loss, weight in parts]
    return add_node(graph, "Add", RELATIONS, shares)


def _share(graph: gs.Graph, name: str, loss: gs.Tensor, weight: float) -> gs.Variable:
    return add_node(graph, "Mul", name, [loss, scalar(f"{loss.name}/weight", weight)])


@dataclass
class _Batch:
    """The embeddings of a batch, and how they lie to each other."""

    graph: gs.Graph
    name: str
    tensor: gs.Tensor

    def __post_init__(self) -> None:
        flat = self._add("Flatten", "flat", [self.tensor], axis=1)
        ahead, behind = (self._view(flat, f"spread{axis}", axis) for axis in (0, 1))
        self.difference = self._add("Sub", "difference", [ahead, behind])  # [i, j] is x_j - x_i
        square = self._add("Mul", "square", [self.difference, self.difference])
        self.squared = self._add("ReduceSum", "squared", [square, self._axes("last", 2)], keepdims=0)
        # 1 in place of 0 under the root, whose slope at 0 is infinite.
        self.some = self._farther("some", self._scalar("none", 0))
        equal = self._add("Sub", "equal", [self._scalar("unit", 1), self.some])
        safe = self._add("Add", "safe", [self.squared, equal])
        self.length = self._add("Sqrt", "length", [safe])

    def different(self) -> gs.Variable:
        """(N, N): 1 for two images, 0 for one and itself."""
        same = self._add("EyeLike", "same", [self.squared])
        return self._add("Sub", "different", [self._scalar("one", 1), same])

    def triplets(self, pair: gs.Tensor) -> gs.Variable:
        """(N, N, N): 1 for three different images, else 0."""
        views = [self._view(pair, f"pair{axis}", axis) for axis in (0, 1, 2)]
        two = self._add("Mul", "two", views[:2])
        return self._add("Mul", "triplets", [two, views[2]])

    def distances(self, pair: gs.Tensor) -> gs.Variable:
        """psi_D, (N, N)."""
        length = self._add("Mul", "distance", [self.length, self.some])
        mean = _mean(self.graph, f"{self.name}/mean", length, pair)
        positive = self._add("Add", "positive", [mean, self._scalar("tiny", SMALLEST)])
        return self._add("Div", "psi_d", [length, positive])

    def angles(self) -> gs.Variable:
        """psi_A, (N, N, N): [j, i, k] is the cosine at j.

        The products are scaled rather than the differences, which are D / N times as large.
        """
        mean = self._add("ReduceMean", "mean_square", [self.squared], keepdims=0)
        least = self._add("Mul", "least", [mean, self._scalar("near", NEAR**2)])
        inverse = self._add("Div", "inverse", [self._farther("clear", least), self.length])
        turned = self._add("Transpose", "turned", [self.difference], perm=[0, 2, 1])
        product = self._add("MatMul", "product", [self.difference, turned])
        one, two = (self._view(inverse, f"inverse{axis}", axis) for axis in (2, 1))
        half = self._add("Mul", "half_scaled", [product, one])
        return self._add("Mul", "psi_a", [half, two])

    def _farther(self, name: str, least: gs.Tensor) -> gs.Variable:
        """(N, N): 1 where the squared distance is above ``least``, else 0; without a gradient."""
        above = gs.Variable(f"{self.name}/{name}/above", np.bool_)
        self.graph.nodes.append(gs.Node("Greater", above.name, inputs=[self.squared, least], outputs=[above]))
        return self._add("Cast", name, [above], to=1)

    def _view(self, tensor: gs.Tensor, name: str, axis: int) -> gs.Variable:
        return self._add("Unsqueeze", name, [tensor, self._axes(f"{name}/axes", axis)])

    def _axes(self, name: str, axis: int) -> gs.Constant:
        return gs.Constant(f"{self.name}/{name}", np.array([axis], np.int64))

    def _scalar(self, name: str, value: float) -> gs.Constant:
        return scalar(f"{self.name}/{name}", value)

    def _add(self, op: str, name: str, inputs: list[gs.Tensor], **attributes: object) -> gs.Variable:
        return add_node(self.graph, op, f"{self.name}/{name}", inputs, **attributes)


def _huber(graph: gs.Graph, name: str, own: gs.Tensor, other: gs.Tensor, counts: gs.Tensor) -> gs.Variable:
    """The mean, where ``counts`` is 1, of ``x^2 / 2`` up to ``|x| = 1`` and ``|x| - 1/2`` beyond (eq. 6)."""
    difference = add_node(graph, "Sub", f"{name}/difference", [own, other])
    size = add_node(graph, "Abs", f"{name}/size", [difference])
    inner = add_node(graph, "Min", f"{name}/inner", [size, scalar(f"{name}/delta", 1)])
    half = add_node(graph, "Mul", f"{name}/half", [inner, scalar(f"{name}/share", 0.5)])
    outer = add_node(graph, "Sub", f"{name}/outer", [size, half])
    each = add_node(graph, "Mul", f"{name}/each", [inner, outer])
    counted = add_node(graph, "Mul", f"{name}/counted", [each, counts])
    return _mean(graph, name, counted, counts)


def _mean(graph: gs.Graph, name: str, values: gs.Tensor, counts: gs.Tensor) -> gs.Variable:
    """The sum of ``values`` over that of ``counts``, or over 1 where there are none."""
    total = add_node(graph, "ReduceSum", f"{name}/total", [values], keepdims=0)
    number = add_node(graph, "ReduceSum", f"{name}/number", [counts], keepdims=0)
    least = add_node(graph, "Max", f"{name}/least", [number, scalar(f"{name}/one", 1)])
    return add_node(graph, "Div", name, [total, least])
