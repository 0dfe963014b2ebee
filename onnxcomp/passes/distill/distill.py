"""The pass ``distill``: the original network as a frozen teacher beside the student."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import onnx_graphsurgeon as gs
from pydantic import Field

from onnxcomp import graphs
from onnxcomp.graphs import TEACHER_PREFIX
from onnxcomp.losses import TASK
from onnxcomp.model import Model, Role
from onnxcomp.passes.base import Change, Context, Pass
from onnxcomp.passes.distill import losses
from onnxcomp.passes.distill.stages import stage_ends


@dataclass(frozen=True)
class Distill(Pass):
    """Learn from the original: its softened answers and its activation boundaries.

    The total loss is ``(1 - alpha) task + alpha soft_targets + beta boundary``.

    Attributes:
        temperature: softens the logits (Hinton et al. 2015).
        alpha: weight of the soft targets, 0 to 1; the labels get the rest.
        beta: weight of the activation-boundary loss (Heo et al. 2019); 0 leaves it out.
        margin: how far from the boundary a pre-activation shall lie.
    """

    name: ClassVar[str] = "distill"
    follows: ClassVar[tuple[str, ...]] = ("channels", "prune", "qat")

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    beta: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    def requires(self, model: Model, context: Context) -> None:
        if self.alpha == 0 and self.beta == 0:
            raise self.error("alpha and beta are both 0", fix="raise one of them or leave distill out")
        teacher = context.original.constants()
        for name, mask in graphs.masks(model.graph).items():
            if _is_pruned(teacher.get(name), mask):
                raise self.error(
                    f"the teacher would be pruned: {name} is 0 where its mask is",
                    fix="apply distill together with prune, or before training",
                )

    def apply(self, model: Model, context: Context) -> Change:
        ends = [tensor.name for tensor in stage_ends(model.graph)]
        student = model.graph.tensors()
        teacher = _add_teacher(model, context.original)
        graph = model.graph
        model.losses[TASK] = 1 - self.alpha
        notes = [f"teacher of {len(context.original.graph.nodes)} nodes"]
        if self.alpha > 0:
            losses.soft_targets(graph, model.logits, teacher[model.logits.name], self.temperature)
            model.losses[losses.SOFT_TARGETS] = self.alpha
        found = [(student[name], teacher[name]) for name in ends if name in teacher]
        pairs = [(own, other) for own, other in found if own.shape[1:] == other.shape[1:]]
        notes += [
            f"no activation boundary at {own.name}: {own.shape[1]} channels, the teacher has {other.shape[1]}"
            for own, other in found
            if own.shape[1:] != other.shape[1:]
        ]
        if self.beta > 0 and pairs:
            losses.boundary(graph, pairs, self.margin)
            model.losses[losses.BOUNDARY] = self.beta
            notes.append(f"activation boundaries at {', '.join(s.name for s, _ in pairs)}")
        elif self.beta > 0 and not found:
            notes.append("no activation boundary: the network has no stage that ends in an activation")
        return Change(True, tuple(notes))

    def ensures(self, model: Model) -> None:
        if self.alpha > 0 and losses.SOFT_TARGETS not in model.losses:
            raise self.error("the soft targets are missing", fix="report this")


def _is_pruned(weight: gs.Constant | None, mask: gs.Constant) -> bool:
    """Whether the teacher's weight has lost what the mask closes; one that `apply` only masks has not."""
    if weight is None or weight.values.shape != mask.values.shape:  # before its channels were cut
        return False
    closed = mask.values == 0
    return bool(closed.any()) and not weight.values[closed].any()


def _add_teacher(model: Model, original: Model) -> dict[str, gs.Tensor]:
    """Copy ``original`` under ``teacher/``; returns the copies by their original names."""
    teacher = original.copy()
    image = teacher.image
    tensors: dict[str, gs.Tensor] = teacher.graph.tensors()
    for tensor in tensors.values():
        if tensor is not image:
            tensor.name = TEACHER_PREFIX + tensor.name
        if isinstance(tensor, gs.Constant):
            # Values not yet read from the file would be written under their name in the file.
            tensor.values = tensor.values.view()
            model.roles[tensor.name] = Role.TEACHER
    for node in teacher.graph.nodes:
        node.name = TEACHER_PREFIX + node.name
        for index, tensor in enumerate(node.inputs):
            if tensor is image:
                node.inputs[index] = model.image
    model.graph.nodes += list(teacher.graph.nodes)
    return tensors
