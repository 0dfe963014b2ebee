"""The pass ``channels``: the least important channels leave the network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from onnxcomp import graphs
from onnxcomp.errors import PassError
from onnxcomp.model import Model
from onnxcomp.passes.base import Change, Context, Names, Pass, excluded, unmatched
from onnxcomp.passes.channels import masks, scores
from onnxcomp.passes.channels.cut import cut
from onnxcomp.passes.channels.dependencies import Dependencies, Group, find
from onnxcomp.passes.channels.ids import Array
from onnxcomp.passes.channels.masks import mask_pattern
from onnxcomp.passes.channels.reconstruct import reconstruct
from onnxcomp.passes.channels.selection import Selection, Wanted
from onnxcomp.passes.prune import schedule
from onnxcomp.passes.prune.schedule import Point, Schedule

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
        schedule: ``one-shot`` cuts when the pass is applied; with ``cubic`` training closes masks from
            ``begin`` to ``end``, every ``frequency``, and ``finalize`` cuts.
        begin, end, frequency: a number up to 1 (``frequency``: below 1) is a share of training, above it
            counts steps.
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
    schedule: Literal["one-shot", "cubic"] = "one-shot"
    begin: Point = 0.0
    end: Point = 0.5
    frequency: Annotated[Point, Field(gt=0)] = 20
    exclude: Names = ()
    seed: Annotated[int, Field(ge=0)] = 0

    def requires(self, model: Model, context: Context) -> None:
        if self.sparsity is not None and self.macs is not None:
            raise self.error("sparsity and macs are both given", fix="give one of them")
        now = self.schedule == "one-shot"
        if now and self.criterion in scores.STATISTICS and context.gradients is None:
            raise self.error(f"criterion={self.criterion} needs labelled images", fix="give --data")
        if self.reconstruct and context.grams is None:
            raise self.error("reconstruct needs real images", fix="give --data")
        if self.seed and self.criterion != "random":
            raise self.error("seed is for criterion=random alone", fix="leave channels.seed out")
        self._check_schedule(model)
        pattern = mask_pattern(context.applied)
        if pattern:
            raise self.error(
                f"would break the pattern {pattern} of the masks", fix="apply channels before prune"
            )
        lost = unmatched(model.graph, self.exclude)
        if lost:
            raise self.error(f"exclude names {lost}, which is no weighted layer", fix="see onnxcomp inspect")
        for weight in graphs.weights(model.graph):
            if not np.isfinite(weight.tensor.values).all():
                raise self.error(f"{weight.name} is not finite", node=weight.node.name, fix="train it again")

    def _check_schedule(self, model: Model) -> None:
        timed = (self.begin, self.end, self.frequency) != (0.0, 0.5, 20)
        if self.schedule == "one-shot" and timed:
            raise self.error(
                "one-shot cuts when it is applied",
                fix="leave begin, end and frequency out, or set schedule=cubic",
            )
        if self.schedule == "one-shot":
            return
        alike = (self.begin <= 1) == (self.end <= 1)  # shares and steps compare when the training is known
        if alike and self.begin > self.end:
            raise self.error(
                f"begins at {self.begin:g}, after its end at {self.end:g}", fix="raise channels.end"
            )
        if self.reconstruct:
            raise self.error("reconstruct is for schedule=one-shot", fix="leave channels.reconstruct out")
        if graphs.masks(model.graph):
            raise self.error(
                "weights have masks already", fix="use schedule=one-shot, or apply channels first"
            )

    def apply(self, model: Model, context: Context) -> Change:
        parameters = _parameters(model)
        alignment = self.align or (context.alignment if context.alignment > 1 else DEFAULT_ALIGNMENT)
        model.given["alignment"] = alignment
        selection = self.selection(model)
        model.given = {"macs": selection.total, "parameters": parameters, **model.given}
        notes = [f"kept: {line}" for line in _kept(selection.dependencies, selection.chosen)]
        if self.schedule == "one-shot":
            return Change(True, (*self._cut(model, context, selection), *notes))
        if selection.choose(scores.magnitude(model.graph, selection.dependencies)) is None:
            raise self._out_of_reach(alignment)
        names = masks.insert(model, selection)
        return Change(True, (f"{len(names)} weights masked, to be cut by finalize", *notes))

    def _cut(self, model: Model, context: Context, selection: Selection) -> tuple[str, ...]:
        parameters = _parameters(model)
        dependencies = selection.dependencies
        gone = selection.choose(self._scores(model, context, dependencies))
        if gone is None:
            raise self._out_of_reach(int(model.given["alignment"]))
        keep = dependencies.kept(gone.tolist())
        notes = [_summary(selection, gone)]
        if self.reconstruct or (self.reconstruct is None and context.grams is not None):
            assert context.grams is not None
            solved = reconstruct(model, dependencies, keep, context.grams)
            notes.append(f"{solved} weights solved anew on real images")
        cut(model, dependencies, gone.tolist())
        notes.append(f"multiply-accumulates {_change(selection.total, selection.work.left(keep))}")
        notes.append(f"parameters {_change(parameters, _parameters(model))}")
        return tuple(notes)

    def rehearsal(self) -> Channels:
        looks = self.criterion in scores.STATISTICS
        return replace(
            self,
            criterion="magnitude" if looks else self.criterion,
            reconstruct=False if self.schedule == "one-shot" else self.reconstruct,
        )

    def ensures(self, model: Model) -> None:
        """Nothing: the pipeline checks the graph."""

    def make_schedule(self, steps: int) -> Schedule:
        """The schedule over a training of ``steps`` steps, of the share of what goes in the end."""
        return schedule.make(
            self.schedule,
            initial=0.0,
            begin=self.begin,
            end=self.end,
            frequency=self.frequency,
            steps=steps,
        )

    def selection(self, model: Model) -> Selection:
        """How channels of ``model``, which says the alignment, are chosen.

        Raises:
            PassError: there is none to choose, or the work of a layer is not known.
        """
        dependencies = find(model.graph)
        held = {weight.name for weight in graphs.weights(model.graph) if excluded(weight, self.exclude)}
        chosen = [g for g in dependencies.groups if g.ids.size and held.isdisjoint(g.members)]
        if not chosen:
            lines = "; ".join(_kept(dependencies, [])) or "no layers"
            raise self.error(
                "there is no channel that can go", fix=f"loosen channels.exclude; kept are {lines}"
            )
        wanted = Wanted(
            self.macs,
            DEFAULT_SPARSITY if self.sparsity is None else self.sparsity,
            self.allocation,
            relative=self.criterion == "magnitude",
            alignment=int(model.given["alignment"]),
        )
        try:
            return Selection(model.graph, dependencies, chosen, wanted)
        except ValueError as error:
            raise self.error(str(error), fix="give the network a fixed image size") from error

    def _out_of_reach(self, alignment: int) -> PassError:
        sparsity = DEFAULT_SPARSITY if self.sparsity is None else self.sparsity
        wanted = f"macs={self.macs}" if self.macs is not None else f"sparsity={sparsity}"
        return self.error(
            f"{wanted} cannot be reached with widths that are multiples of {alignment}",
            fix="set channels.align lower or ask for less",
        )

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
        return scores.mean(self.criterion, gates)


def _parameters(model: Model) -> float:
    """Elements of the student's weights, each once."""
    sizes = {weight.name: float(np.prod(weight.tensor.shape)) for weight in graphs.weights(model.graph)}
    return sum(sizes.values())


def _change(before: float, after: float) -> str:
    return f"{before:,.0f} -> {after:,.0f} ({100 * after / before:.1f} % left)"


def _summary(selection: Selection, gone: Array) -> str:
    touched = sum(bool(np.isin(group.ids, gone).any()) for group in selection.chosen)
    free = sum(len(group.ids) for group in selection.chosen)
    every = len(selection.dependencies.groups)
    return f"{len(gone):,} of {free:,} channels removed, in {touched} of {every} groups of layers"


def _kept(dependencies: Dependencies, chosen: list[Group]) -> list[str]:
    """One line for each reason that groups are left whole for."""
    lines: dict[str, list[str]] = {}
    for group in dependencies.groups:
        if not any(group is other for other in chosen):
            lines.setdefault(group.reason or "excluded", []).append(group.name)
    return [f"{', '.join(names)} ({reason})" for reason, names in lines.items()]
