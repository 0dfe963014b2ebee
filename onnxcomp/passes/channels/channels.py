"""The pass ``channels``: the least important channels leave the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.base import Change, Context, Names, Pass, excluded, unmatched
from onnxcomp.passes.channels import scores, select
from onnxcomp.passes.channels.cut import cut
from onnxcomp.passes.channels.dependencies import Dependencies, Group, find
from onnxcomp.passes.channels.ids import Array
from onnxcomp.passes.channels.reconstruct import reconstruct
from onnxcomp.passes.channels.work import Work

DEFAULT_SPARSITY = 0.5
DEFAULT_ALIGNMENT = 8
Share = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class Channels(Pass):
    """Remove whole channels, with all that makes and reads them, so that the network itself is smaller.

    Attributes:
        sparsity: share of the channels that can go that goes; 0.5 where ``macs`` is not given either.
        macs: instead, the share of the network's multiply-accumulates that is left.
        criterion: what a channel is worth; all but ``magnitude`` and ``random`` need data.
        allocation: ``global`` ranks the channels of all layers together, ``uniform`` takes the same
            share of each group of layers.
        align: widths are multiples of it, or what they were; by default the target's, or 8.
        reconstruct: solve the remaining weights anew on real images so that they make up for what
            is gone; by default where there is data.
        exclude: patterns (as in a shell) of weight or node names whose outputs keep their width.
        seed: of ``criterion=random``.
    """

    name: ClassVar[str] = "channels"
    follows: ClassVar[tuple[str, ...]] = ("prune", "qat", "distill")

    sparsity: Share | None = None
    macs: Share | None = None
    criterion: Literal["magnitude", "random", "taylor", "obd"] = "magnitude"
    allocation: Literal["global", "uniform"] = "global"
    align: Annotated[int, Field(ge=1)] | None = None
    reconstruct: bool | None = None
    exclude: Names = ()
    seed: Annotated[int, Field(ge=0)] = 0

    def requires(self, model: Model, context: Context) -> None:
        if self.sparsity is not None and self.macs is not None:
            raise self.error("sparsity and macs are both given", fix="give one of them")
        if self.criterion in ("taylor", "obd") and context.gradients is None:
            raise self.error(f"criterion={self.criterion} needs labelled images", fix="give --data")
        if self.reconstruct and context.grams is None:
            raise self.error("reconstruct needs real images", fix="give --data")
        if self.seed and self.criterion != "random":
            raise self.error("seed is for criterion=random alone", fix="leave channels.seed out")
        lost = unmatched(model.graph, self.exclude)
        if lost:
            raise self.error(f"exclude names {lost}, which is no weighted layer", fix="see onnxcomp inspect")
        for weight in graphs.weights(model.graph):
            if not np.isfinite(weight.tensor.values).all():
                raise self.error(f"{weight.name} is not finite", node=weight.node.name, fix="train it again")

    def apply(self, model: Model, context: Context) -> Change:
        dependencies = find(model.graph)
        chosen = self.chosen(model, dependencies)
        if not chosen:
            raise self.error("there is no channel that can go", fix=_reasons(dependencies, self.exclude))
        work = self._work(model, dependencies)
        before, parameters = work.left(dependencies.kept(())), _parameters(model)
        gone = self._gone(model, context, dependencies, chosen, work)
        keep = dependencies.kept(gone.tolist())
        notes = [_summary(dependencies, chosen, gone)]
        if self.reconstruct or (self.reconstruct is None and context.grams is not None):
            assert context.grams is not None
            solved = reconstruct(model, dependencies, keep, context.grams)
            notes.append(f"{solved} weights solved anew on real images")
        cut(model, dependencies, gone.tolist())
        model.given = model.given or {"macs": before, "parameters": parameters}
        notes.append(f"multiply-accumulates {_change(before, work.left(keep))}")
        notes.append(f"parameters {_change(parameters, _parameters(model))}")
        notes += [f"kept: {line}" for line in _kept(dependencies, self.exclude, chosen)]
        return Change(True, tuple(notes))

    def ensures(self, model: Model) -> None:
        """Nothing: the pipeline checks the graph."""

    def chosen(self, model: Model, dependencies: Dependencies) -> list[Group]:
        """The groups of which channels may go."""
        held = {weight.name for weight in graphs.weights(model.graph) if excluded(weight, self.exclude)}
        return [g for g in dependencies.groups if g.ids.size and held.isdisjoint(g.members)]

    def _work(self, model: Model, dependencies: Dependencies) -> Work:
        try:
            return Work(model.graph, dependencies)
        except ValueError as error:
            raise self.error(str(error), fix="give the network fixed image sizes") from error

    def _gone(
        self, model: Model, context: Context, dependencies: Dependencies, chosen: list[Group], work: Work
    ) -> Array:
        values = self._scores(model, context, dependencies)
        alignment = self.align or (context.alignment if context.alignment > 1 else DEFAULT_ALIGNMENT)
        ranked = select.rankings(dependencies, chosen, values, alignment)
        if self.allocation == "uniform":
            ranked = select.positions(ranked)
        elif self.criterion == "magnitude":
            ranked = select.relative(ranked)
        total, every = work.left(dependencies.kept(())), sum(len(ranking.ids) for ranking in ranked)
        share = DEFAULT_SPARSITY if self.sparsity is None else self.sparsity

        def enough(gone: Array) -> bool:
            if self.macs is not None:
                return work.left(dependencies.kept(gone.tolist())) <= self.macs * total
            return len(gone) >= share * every

        gone = select.smallest(ranked, enough)
        if gone is None:
            wanted = f"macs={self.macs}" if self.macs is not None else f"sparsity={share}"
            raise self.error(
                f"{wanted} cannot be reached with widths that are multiples of {alignment}",
                fix="set channels.align lower or ask for less",
            )
        return gone

    def _scores(self, model: Model, context: Context, dependencies: Dependencies) -> np.ndarray:
        if self.criterion == "magnitude":
            return scores.magnitude(model.graph, dependencies)
        if self.criterion == "random":
            return scores.random(dependencies, self.seed)
        assert context.gradients is not None
        readers = scores.readers(model.graph, dependencies)
        constants = model.constants()
        weights = {name: constants[name].values for name, _, _ in readers}
        batches = context.gradients.per_batch(model, list(weights))
        gates = (scores.gates(weights, found, readers, dependencies.size) for found in batches)
        return scores.CRITERIA[self.criterion](gates)


def _parameters(model: Model) -> float:
    """Elements of the student's weights, each once."""
    sizes = {weight.name: float(np.prod(weight.tensor.shape)) for weight in graphs.weights(model.graph)}
    return sum(sizes.values())


def _change(before: float, after: float) -> str:
    return f"{before:,.0f} -> {after:,.0f} ({100 * after / before:.1f} % left)"


def _summary(dependencies: Dependencies, chosen: list[Group], gone: Array) -> str:
    touched = sum(bool(np.isin(group.ids, gone).any()) for group in chosen)
    free = sum(len(group.ids) for group in chosen)
    return f"{len(gone):,} of {free:,} channels removed, in {touched} of {len(dependencies.groups)} groups"


def _kept(dependencies: Dependencies, exclude: tuple[str, ...], chosen: list[Group]) -> list[str]:
    """One line for each reason that groups are left whole for."""
    lines: dict[str, list[str]] = {}
    for group in dependencies.groups:
        if group not in chosen:
            lines.setdefault(group.reason or "excluded", []).append(group.name)
    return [f"{', '.join(names)} ({reason})" for reason, names in lines.items()]


def _reasons(dependencies: Dependencies, exclude: tuple[str, ...]) -> str:
    lines = _kept(dependencies, exclude, [])
    return f"{'loosen channels.exclude; ' if exclude else ''}kept are {'; '.join(lines) or 'no layers'}"
