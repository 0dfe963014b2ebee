"""From the name of a loss term to its subgraph between a student and its teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.graphs import LOSS_PREFIX, TEACHER_PREFIX, is_student
from onnxcomp.losses import labels
from onnxcomp.model import Model
from onnxcomp.passes.distill import losses
from onnxcomp.passes.distill.connectors import Connected, connect
from onnxcomp.passes.distill.pairing import Pair, embedding, has_positions

if TYPE_CHECKING:
    from onnxcomp.passes.distill.distill import Distill

HIDDEN = ("boundary", "hints", "attention")
"""Terms that compare pairs of hidden tensors."""


@dataclass
class Scene:
    """What the terms are built between.

    Attributes:
        model: the student, with the teachers in its graph.
        logits: of the teachers.
        pairs: hidden tensors that belong together.
        options: of the pass.
    """

    model: Model
    logits: gs.Variable
    pairs: Sequence[Pair]
    options: Distill

    def missing(self, term: str) -> str:
        """Why there is nothing to build for the term, or ``""``."""
        if term not in HIDDEN:
            return ""
        if not self.pairs:
            return "student and teacher have no stages that end in an activation"
        if term == "attention" and not any(map(has_positions, self.pairs)):
            return "no pair has more than one position, and a map of one is always the same"
        return ""

    def build(self, term: str) -> list[str]:
        """Add the term, of which there is something to build; returns what stands between each pair."""
        graph, options = self.model.graph, self.options
        student = self.model.logits
        if term in HIDDEN:
            found = [
                self._connected(term, number, pair) if term != "attention" or has_positions(pair) else None
                for number, pair in enumerate(self.pairs)
            ]
            ends = [(one.student, one.teacher) for one in found if one is not None]
            if term == "boundary":
                losses.boundary(graph, ends, options.margin)
            elif term == "hints":
                losses.hints(graph, ends)
            else:
                losses.attention(graph, ends)
            return ["not in attention: one position" if one is None else one.what for one in found]
        if term == "soft_targets":
            losses.soft_targets(graph, student, self.logits, options.temperature)
        elif term == "relations":
            own, other = embedding(student, is_student), embedding(self.logits, _is_teacher)
            losses.relations(graph, own, other, options.distance, options.angle)
        elif term == "decoupled":
            losses.decoupled(
                graph, student, self.logits, self._target(), self.model.num_classes,
                options.temperature, options.target_weight, options.others_weight,
            )  # fmt: skip
        return []

    def _connected(self, term: str, number: int, pair: Pair) -> Connected:
        return connect(self.model.graph, f"{term}/{number}", pair, widths=term != "attention")

    def _target(self) -> gs.Variable:
        """The labels; without them what the teachers answer."""
        if self.options.labels:
            return labels(self.model)
        name = f"{TEACHER_PREFIX}{LOSS_PREFIX}decoupled/answer"
        answer = gs.Variable(name, np.int64)
        attributes = {"axis": 1, "keepdims": 0}
        self.model.graph.nodes.append(gs.Node("ArgMax", name, attributes, [self.logits], [answer]))
        return answer


def _is_teacher(node: gs.Node) -> bool:
    return bool(node.name.startswith(TEACHER_PREFIX))
