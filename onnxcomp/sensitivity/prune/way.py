"""How layers are pruned when each is pruned alone: the options, and what they choose in a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxcomp import graphs
from onnxcomp import recipe as recipes
from onnxcomp.errors import ModelError, OnnxcompError, RecipeError
from onnxcomp.model import Model
from onnxcomp.passes.base import unmatched
from onnxcomp.passes.prune import Prune, patterns
from onnxcomp.passes.prune.plan import Plan
from onnxcomp.passes.prune.selection import nearest

SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Way:
    """Options of the pass ``prune`` for one layer, the others dense.

    Attributes:
        criterion, pattern: as of the pass.
        sparsities: shares of the layer's weights that become zero, ascending; none for
            :data:`SPARSITIES`, or for what an N:M pattern gives.
        exclude: patterns (as in a shell) of weight or node names that are not measured.

    Raises:
        OnnxcompError: a criterion or a pattern that does not exist, or a sparsity out of range.
    """

    criterion: str = "magnitude"
    pattern: str = "unstructured"
    sparsities: tuple[float, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        pattern = patterns.parse(self.prune.pattern)
        fixed = pattern.zeros if pattern.gone < pattern.size else None
        default = SPARSITIES if fixed is None else (fixed,)
        object.__setattr__(self, "sparsities", tuple(sorted(set(self.sparsities))) or default)
        for sparsity in self.sparsities:
            if not 0 < sparsity < 1:
                raise OnnxcompError(
                    f"{sparsity:g} is no sparsity", where="sparsities", fix="give shares between 0 and 1"
                )
            if fixed is not None and sparsity != fixed:
                raise OnnxcompError(
                    f"pattern {self.pattern} makes {fixed:g} of the weights zero, not {sparsity:g}",
                    where="sparsities",
                    fix="leave the sparsities out",
                )

    @property
    def prune(self) -> Prune:
        """The pass, which closes the masks of every weight at once."""
        options = {"criterion": self.criterion, "pattern": self.pattern, "exclude": self.exclude}
        fixed = {"schedule": "one-shot", "allocation": "uniform", "keep_first": False, "keep_last": False}
        try:
            made = recipes.build("prune", {**options, **fixed})
        except RecipeError as error:
            raise RecipeError(error.what, where=error.where, fix="see onnxcomp sensitivity --help") from error
        assert isinstance(made, Prune)
        return made

    def plan(self, model: Model) -> Plan:
        """What there is to measure: each weight in a group of its own, and why others are left.

        Raises:
            OnnxcompError: ``exclude`` matches nothing, nothing is left, or a weight is not finite.
        """
        lost = unmatched(model.graph, self.exclude)
        if lost:
            raise OnnxcompError(
                f"no weighted layer is called {lost}", where="exclude", fix=nearest(model.graph, lost)
            )
        for weight in graphs.weights(model.graph):
            if not np.isfinite(weight.tensor.values).all():
                raise ModelError(
                    "holds weights that are not finite",
                    where=f"node {weight.node.name}",
                    fix="train it again",
                )
        plan = self.prune.plan(model)
        left = {**plan.left, **self._unsolvable(model)}
        groups = tuple(group for group in plan.groups if not set(group.names) & left.keys())
        if not groups:
            reasons = sorted({reason for reason in left.values() if reason})
            raise ModelError(
                f"there is no layer to prune{f' ({reasons[0]})' if reasons else ''}",
                where=model.graph.name,
                fix="exclude less or choose another pattern"
                if left
                else "give a network with weighted layers",
            )
        return Plan(groups, plan.pattern, plan.layouts, left)

    def _unsolvable(self, model: Model) -> Mapping[str, str]:
        """Weights that Optimal Brain Surgeon knows no Gram matrix of."""
        if self.criterion != "obs":
            return {}
        return {
            weight.name: f"criterion obs knows no {weight.node.op} of rank {len(weight.tensor.shape)}"
            for weight in graphs.weights(model.graph)
            if weight.node.op == "ConvTranspose"
            or (weight.node.op != "Conv" and len(weight.tensor.shape) > 2)
        }


def read_sparsities(text: str) -> tuple[float, ...]:
    """Numbers with commas between.

    Raises:
        OnnxcompError: one of them is no number.
    """
    found: list[float] = []
    for part in text.split(","):
        try:
            found.append(float(part))
        except ValueError as error:
            raise OnnxcompError(
                f"{part.strip()!r} is no number", where="sparsities", fix="write them as 0.5,0.7,0.9"
            ) from error
    return tuple(found)
