"""The pass ``prune``: ``Mul(weight, mask)`` before every prunable weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.base import Change, Context, Names, Pass
from onnxcomp.passes.masking import insert_mask
from onnxcomp.passes.prune import allocation, checks, criteria, masks, patterns
from onnxcomp.passes.prune.plan import Group, Plan, layout
from onnxcomp.passes.prune.reconstruct import reconstruct
from onnxcomp.passes.prune.schedule import Point, Schedule, make
from onnxcomp.passes.prune.selection import Selection, lines, select

Array = npt.NDArray[np.float32]
DEFAULT_SPARSITY = 0.8
BEFORE_TRAINING = 10**12
"""Steps of a training whose first step is like that of any other."""


def _pattern(text: str) -> str:
    patterns.parse(text)
    return text


Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Prune(Pass):
    """Insert masks, closed as far as the schedule wants before the first step; training closes the rest.

    Attributes:
        sparsity: share of the prunable weights that is zero at the end; by default 0.8, or what an
            N:M pattern gives.
        pattern: ``unstructured``, ``N:M`` (N of every M consecutive inputs stay, such as ``2:4``) or
            ``RxC`` (blocks of R outputs times C inputs, such as ``4x1``).
        criterion: what a weight is worth (:mod:`onnxcomp.passes.prune.criteria`); ``obs`` also lets the
            weights that stay make up for those that go.
        allocation: ``global`` ranks all weights together and ``class-distribution`` does so relative
            to each tensor's deviation, ``uniform`` prunes each tensor alike, ``erk`` by its shape,
            ``sensitivity`` by what `onnxcomp sensitivity` measured.
        schedule: ``cubic``, ``iterative`` and ``ramp`` close masks during training, ``one-shot`` at
            ``begin``; at 0, when the pass is applied.
        initial: share that is zero from the first step on.
        begin, end: a number up to 1 is a share of training, above it counts steps. The masks close between
            them and are frozen after ``end``.
        frequency: between two updates of the masks, at most: below 1 a share of training, else steps.
        keep_first, keep_last: leave the first and the last weighted layer dense.
        exclude: patterns (as in a shell) of weight or node names to leave dense.
        layers: share that is zero at the end by such patterns, before all other options; 0 is dense.
        seed: of ``criterion=random``.
        sensitivity: the JSON file for ``allocation=sensitivity``.
        max_drop: points of top-1 accuracy that each layer alone may cost, for ``allocation=sensitivity``.
    """

    name: ClassVar[str] = "prune"
    follows: ClassVar[tuple[str, ...]] = ("channels",)

    sparsity: Share | None = None
    pattern: Annotated[str, AfterValidator(_pattern)] = "unstructured"
    criterion: Literal["magnitude", "random", "taylor", "obd", "obs"] = "magnitude"
    allocation: Literal["global", "uniform", "class-distribution", "erk", "sensitivity"] = "global"
    schedule: Literal["one-shot", "iterative", "cubic", "ramp"] = "cubic"
    initial: Share = 0.0
    begin: Point = 0.0
    end: Point = 0.5
    frequency: Annotated[Point, Field(gt=0)] = 20
    keep_first: bool = True
    keep_last: bool = True
    exclude: Names = ()
    layers: dict[str, Share] = field(default_factory=dict)
    seed: Annotated[int, Field(ge=0)] = 0
    sensitivity: str | None = None
    max_drop: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @property
    def at_once(self) -> bool:
        """Whether the masks are final when the pass has been applied: training closes nothing."""
        return self.schedule == "one-shot" and self.begin == 0

    @property
    def final(self) -> float:
        """Share that is zero at the end, where ``layers`` and measured curves do not say otherwise."""
        pattern = patterns.parse(self.pattern)
        if pattern.gone < pattern.size:
            return pattern.zeros
        return DEFAULT_SPARSITY if self.sparsity is None else self.sparsity

    def over(self, steps: int) -> Schedule:
        """The schedule over ``steps`` steps: see :func:`onnxcomp.passes.prune.schedule.make`."""
        return make(
            self.schedule,
            initial=self.initial,
            begin=self.begin,
            end=self.end,
            frequency=self.frequency,
            steps=steps,
        )

    def plan(self, model: Model) -> Plan:
        """What the masks are to reach: a function of graph, options and ``model.sparsities`` alone.

        The graph may have its masks already; the weights are as they were when the pass was applied.
        """
        selection = self.selection(model)
        rest = {name: w for name, w in selection.chosen.items() if name not in selection.shares}
        groups = allocation.each(selection.shares)
        if rest:
            groups += self._allocate({name: weight.tensor.values for name, weight in rest.items()}, model)
        layouts = {name: layout(weight) for name, weight in selection.chosen.items()}
        planned = {name for group in groups for name in group.names}
        whole = {name: "none of it may go" for name in selection.chosen if name not in planned}
        return Plan(groups, patterns.parse(self.pattern), layouts, {**selection.left, **whole})

    def selection(self, model: Model) -> Selection:
        """Which weights are pruned, and why others are not."""
        kept = [0] * self.keep_first + [-1] * self.keep_last
        pattern = patterns.parse(self.pattern)
        return select(model.graph, pattern, kept=kept, exclude=self.exclude, layers=self.layers)

    def _allocate(self, weights: Mapping[str, Array], model: Model) -> tuple[Group, ...]:
        sparsity = self.final
        if self.allocation == "global":
            return allocation.together(weights, sparsity)
        if self.allocation == "class-distribution":
            return allocation.class_distribution(weights, sparsity)
        if self.allocation == "uniform":
            return allocation.each(dict.fromkeys(weights, sparsity))
        if self.allocation == "erk":
            shares = allocation.erk({name: values.shape for name, values in weights.items()}, sparsity)
        else:
            shares = {name: model.sparsities.get(name, 0.0) for name in weights}
        size = patterns.parse(self.pattern).size
        some = {name: share for name, share in shares.items() if round(share * weights[name].size / size)}
        return allocation.each(some)

    def requires(self, model: Model, context: Context) -> None:
        checks.check(self, model, context)

    def apply(self, model: Model, context: Context) -> Change:
        if self.allocation == "sensitivity":
            model.sparsities = checks.measured_shares(self, model)
        plan = self.plan(model)
        if not plan.names:
            raise self.error("there is no weight to prune", fix="ask for more zeros")
        constants = model.constants()
        for name in plan.names:
            insert_mask(model, constants[name])
        model.graph.toposort()
        count = sum(constants[name].values.size for name in plan.names)
        notes = [f"{len(plan.names)} weights masked, {count:,} values"]
        if self.criterion == "obs":
            notes += reconstruct(model, plan, context)
        else:
            self._close(model, context, plan)
        closed = masks.sparsity_of({n: m.values for n, m in graphs.masks(model.graph).items()})
        if closed:
            notes.append(f"{100 * closed:.2f} % of them are zero")
        return Change(True, (*notes, *lines(plan.left)))

    def rehearsal(self) -> Prune:
        looks = self.criterion == "obs" or self.criterion in criteria.STATISTICS
        return replace(self, criterion="magnitude") if looks else self

    def ensures(self, model: Model) -> None:
        masked = graphs.masks(model.graph)
        for name in self.plan(model).names:
            if name not in masked:
                raise self.error("has no mask although it is prunable", node=name, fix="report this")

    def _close(self, model: Model, context: Context, plan: Plan) -> None:
        """Close the masks to what the schedule wants before the first step."""
        when = self.over(BEFORE_TRAINING)
        if not any(when.sparsity(0, group.sparsity) for group in plan.groups):
            return
        means: dict[str, Array] = {}
        if self.criterion in criteria.STATISTICS and when.relative_threshold(0):
            assert context.gradients is not None
            means = criteria.mean_statistics(self.criterion, context.gradients.per_batch(model, plan.names))
        constants = model.constants()
        found = {name: mask.values for name, mask in graphs.masks(model.graph).items()}

        def score(name: str) -> Array:
            values = constants[name].values
            return criteria.score(self.criterion, name, values, mean=means.get(name), seed=self.seed)

        masks.update(plan, score, found, when, 0)
