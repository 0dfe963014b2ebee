"""Which weights are closed: those of the smallest scores, unit by unit, and never again open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxcomp.passes.prune.plan import Group, Plan
from onnxcomp.passes.prune.schedule import Schedule

Array = npt.NDArray[np.float32]
Score = Callable[[str], Array]
"""A new float32 array of the weight's shape, none below 0, by the weight's name; it is written over."""

KEEP = 0.02
"""Share of every tensor that ranking several together leaves: a layer that vanishes cuts the network."""


def update(plan: Plan, score: Score, masks: Mapping[str, Array], schedule: Schedule, step: int) -> None:
    """Close the masks, in place, to what the schedule wants at ``step``.

    What is closed stays closed. Ties are broken by name and position, so counts are exact (to half a
    unit of the pattern) and the result depends on nothing but values and names.

    Args:
        masks: float32 of zeros and ones by weight, at least of all the plan's.
    """
    relative = schedule.relative_threshold(step)
    for group in plan.groups:
        close(plan, group, score, masks, schedule.sparsity(step, group.sparsity), relative)


def close(
    plan: Plan, group: Group, score: Score, masks: Mapping[str, Array], sparsity: float, relative: float = 1.0
) -> None:
    """Close the masks of one group, in place, until ``sparsity`` of its weights is zero.

    At least one unit of every weight stays, and :data:`KEEP` where several are ranked together; N:M,
    which leaves weights in every unit, needs no such care.

    Args:
        relative: of the units that would go, those go whose cost is below this times the largest among
            them.
    """
    ranking = _Ranking(plan, group, score, masks)
    total = sum(ranking.units.values())
    count = round(sparsity / plan.pattern.zeros * total)
    if count <= 0 or relative <= 0:
        return
    if count >= total and relative == 1 and not ranking.empties:
        for name, size in ranking.units.items():
            ranking.close(name, ranking.scores(name), np.ones(size, np.bool_))
        return
    limit, ties = _threshold(ranking.together(), count)
    if relative < 1:
        limit, ties = limit * np.float32(relative), 0
    for name in ranking.units:
        scores = ranking.scores(name)
        costs = ranking.costs(scores)
        chosen = costs < limit
        if ties:
            tied = np.flatnonzero(costs == limit)[:ties]
            chosen[tied] = True
            ties -= tied.size
        ranking.close(name, scores, chosen)


@dataclass(frozen=True)
class _Ranking:
    """Units of several weights and what closing them costs.

    Costs are computed twice, because one copy of all of them is what a large network has room for.
    """

    plan: Plan
    group: Group
    score: Score
    masks: Mapping[str, Array]

    @property
    def units(self) -> dict[str, int]:
        """Their number by weight, in an order that depends on the names alone."""
        return {name: self.masks[name].size // self.plan.pattern.size for name in sorted(self.group.names)}

    @property
    def empties(self) -> bool:
        """Whether nothing is left of a unit that is closed."""
        return self.plan.pattern.gone == self.plan.pattern.size

    def scores(self, name: str) -> Array:
        """As the pattern sees them: -1 where the mask is closed, so that this goes first."""
        found = self.score(name)
        if self.group.deviations:
            found /= np.float32(self.group.deviations[self.group.names.index(name)] or 1)
        np.copyto(found, -1, where=self.masks[name] == 0)
        return self.plan.facing(name, found)

    def costs(self, scores: Array) -> Array:
        """Of each unit; infinite for those that must stay."""
        found = self.plan.pattern.costs(scores)
        if not self.empties:
            return found
        share = KEEP if len(self.group.names) > 1 else 0
        return _protected(found, max(1, round(share * found.size)))

    def together(self) -> Array:
        """The costs of all."""
        units = self.units
        found = np.empty(sum(units.values()), np.float32)
        start = 0
        for name, size in units.items():
            found[start : start + size] = self.costs(self.scores(name))
            start += size
        return found

    def close(self, name: str, scores: Array, chosen: npt.NDArray[np.bool_]) -> None:
        self.plan.pattern.close(self.plan.facing(name, self.masks[name]), scores, chosen)


def _protected(costs: Array, kept: int) -> Array:
    """``costs`` with infinity for the ``kept`` largest; of equal ones, for the last."""
    limit = np.partition(costs, costs.size - kept)[costs.size - kept]
    above = costs > limit
    tied = np.flatnonzero(costs == limit)
    found = np.where(above, np.float32(np.inf), costs)
    found[tied[tied.size - (kept - int(np.count_nonzero(above))) :]] = np.inf
    return found


def _threshold(costs: Array, count: int) -> tuple[np.float32, int]:
    """The ``count``-th smallest cost, and how many that are equal to it belong to the ``count`` smallest.

    Infinite costs are never among them. The order of ``costs`` is lost.
    """
    count = min(count, int(np.isfinite(costs).sum()))
    if count <= 0:
        return np.float32(-np.inf), 0
    costs.partition(count - 1)
    threshold = costs[count - 1]
    return threshold, count - int(np.count_nonzero(costs[:count] < threshold))


def sparsity_of(masks: Mapping[str, Array]) -> float:
    """Share of all masked positions that is zero."""
    total = sum(mask.size for mask in masks.values())
    return 1 - sum(int(np.count_nonzero(mask)) for mask in masks.values()) / total if total else 0.0
