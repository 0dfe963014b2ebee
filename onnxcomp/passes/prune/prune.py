"""The pass ``prune``: ``Mul(weight, mask)`` before every prunable weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import onnx_graphsurgeon as gs
from pydantic import Field

from onnxcomp import graphs
from onnxcomp.model import Model, Role
from onnxcomp.passes.base import Change, Context, Names, Pass, excluded, unmatched
from onnxcomp.passes.prune.schedule import CubicSchedule

Share = Annotated[float, Field(ge=0, le=1)]
UPDATES = 10


@dataclass(frozen=True)
class Prune(Pass):
    """Insert masks of ones; training closes them on the schedule of Zhu & Gupta 2017.

    Attributes:
        sparsity: share of the prunable weights that is zero at the end.
        initial: share that is zero at the beginning.
        begin, end: shares of training between which the masks close; they are frozen after ``end``.
        frequency: steps between two updates of the masks, at most.
        allocation: ``global`` ranks all weights together, ``uniform`` prunes each tensor alike.
        keep_first, keep_last: leave the first and the last weighted layer dense.
        exclude: patterns (as in a shell) of weight or node names to leave dense.
    """

    name: ClassVar[str] = "prune"
    follows: ClassVar[tuple[str, ...]] = ()

    sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.8
    initial: Annotated[float, Field(ge=0, lt=1)] = 0.0
    begin: Share = 0.0
    end: Share = 0.5
    frequency: Annotated[int, Field(ge=1)] = 20
    allocation: Literal["global", "uniform"] = "global"
    keep_first: bool = True
    keep_last: bool = True
    exclude: Names = ()

    def schedule(self, steps: int) -> CubicSchedule:
        """The schedule over a training of ``steps`` steps; its end lies inside the training.

        In a short training the masks are updated more often than ``frequency`` says, so that they
        close in :data:`UPDATES` updates and not in one.
        """
        last = max(steps - 1, 0)
        begin = min(round(self.begin * steps), last)
        end = min(max(round(self.end * steps), begin), last)
        frequency = max(1, min(self.frequency, (end - begin) // UPDATES))
        return CubicSchedule(self.initial, self.sparsity, begin, end, frequency)

    def requires(self, model: Model, context: Context) -> None:
        if self.begin > self.end:
            raise self.error(
                f"begins at {self.begin} of training, after its end at {self.end}", fix="raise prune.end"
            )
        if self.initial > self.sparsity:
            raise self.error(
                f"initial sparsity {self.initial} is above the final {self.sparsity}",
                fix="lower prune.initial",
            )
        lost = unmatched(model.graph, self.exclude)
        if lost:
            raise self.error(f"exclude names {lost}, which is no weighted layer", fix="see onnxcomp inspect")
        if not self._prunable(model.graph):
            raise self.error("there is no weight to prune", fix="loosen prune.exclude or prune.keep_*")

    def apply(self, model: Model, context: Context) -> Change:
        chosen = self._prunable(model.graph)
        for tensor in chosen.values():
            _insert_mask(model, tensor)
        model.graph.toposort()
        every = {weight.name for weight in graphs.weights(model.graph)}
        left = sorted(every - chosen.keys())
        count = sum(int(np.prod(tensor.shape)) for tensor in chosen.values())
        notes = [f"{len(chosen)} weights masked, {count:,} values"]
        if left:
            notes.append(f"left dense: {', '.join(left)}")
        return Change(True, tuple(notes))

    def ensures(self, model: Model) -> None:
        masked = graphs.masks(model.graph)
        for name in self._prunable(model.graph):
            if name not in masked:
                raise self.error("has no mask although it is prunable", node=name, fix="report this")

    def _prunable(self, graph: gs.Graph) -> dict[str, gs.Constant]:
        found = list(graphs.weights(graph))
        kept = set()
        if found and self.keep_first:
            kept.add(found[0].name)
        if found and self.keep_last:
            kept.add(found[-1].name)
        return {
            weight.name: weight.tensor
            for weight in found
            if weight.name not in kept and not excluded(weight, self.exclude)
        }


def _insert_mask(model: Model, tensor: gs.Constant) -> None:
    readers = list(tensor.outputs)
    mask = gs.Constant(f"{tensor.name}.mask", np.ones(tensor.shape, np.float32))
    masked = gs.Variable(f"{tensor.name}.masked", np.float32, tensor.shape)
    node = gs.Node("Mul", f"{graphs.PRUNE_PREFIX}{tensor.name}", inputs=[tensor, mask], outputs=[masked])
    graphs.rewire(tensor, masked, readers)
    model.graph.nodes.append(node)
    model.roles[mask.name] = Role.MASK
