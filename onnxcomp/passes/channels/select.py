"""Which channels go: the least important ones that save enough, in widths that kernels like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from onnxcomp.passes.channels.dependencies import Dependencies, Group
from onnxcomp.passes.channels.ids import Array


@dataclass(frozen=True, eq=False)
class Ranking:
    """A group's channels, the first to go first.

    Attributes:
        ids: numbers.
        values: what they are ranked by among groups, ascending.
        legal: for each count of channels, the largest count up to it that leaves good widths.
            Shape (len(ids) + 1,).
    """

    ids: Array
    values: np.ndarray
    legal: Array


def rankings(
    dependencies: Dependencies, chosen: list[Group], values: np.ndarray, alignment: int
) -> list[Ranking]:
    """The channels of each group in the order of ``values``, float64 by number.

    Args:
        alignment: a width is a multiple of it, or what it was; and never 0.
    """
    group_of = np.full(dependencies.size + 1, -1)
    for index, group in enumerate(chosen):
        group_of[group.ids] = index
    spans: dict[int, list[Array]] = {}
    for numbers in dependencies.spans():
        index = int(group_of[numbers[0]])
        spans.setdefault(index, []).append(numbers[group_of[numbers] == index])
    found = []
    for index, group in enumerate(chosen):
        order = group.ids[np.argsort(values[group.ids], kind="stable")]
        widths = [source.ids for source in dependencies.sources if source.name in group.members]
        legal = _legal(order, widths, spans.get(index, []), alignment)
        found.append(Ranking(order, values[order], legal))
    return found


def _legal(order: Array, widths: list[Array], spans: list[Array], alignment: int) -> Array:
    fine = np.ones(len(order) + 1, np.bool_)
    unique = {numbers.tobytes(): numbers for numbers in spans}
    for numbers in unique.values():
        fine &= _left(order, numbers) > 0
    for numbers in widths:
        left = _left(order, numbers)
        fine &= (left % alignment == 0) | (left == numbers.size)
    counts = np.where(fine, np.arange(len(fine)), 0)
    return np.maximum.accumulate(counts)


def _left(order: Array, numbers: Array) -> Array:
    """How many of ``numbers`` are left after the first 0, 1, 2... of ``order`` have gone."""
    values, counts = np.unique(numbers, return_counts=True)
    place = np.searchsorted(values, order).clip(max=len(values) - 1)
    taken = np.where(values[place] == order, counts[place], 0)
    return numbers.size - np.concatenate([[0], np.cumsum(taken)])


def smallest(found: list[Ranking], enough: Callable[[Array], bool]) -> Array | None:
    """The shortest selection that is ``enough``: all channels below one common value, as widths allow.

    Returns:
        Numbers; None where even the longest selection is not enough.
    """
    levels = np.unique(np.concatenate([ranking.values for ranking in found]))
    low, high = 0, len(levels)  # everything below levels[high - 1] is the longest
    if not enough(below(found, np.inf)):
        return None
    while low < high:
        middle = (low + high) // 2
        if enough(below(found, levels[middle - 1] if middle else -np.inf)):
            high = middle
        else:
            low = middle + 1
    return below(found, levels[low - 1] if low else -np.inf)


def below(found: list[Ranking], level: float) -> Array:
    """The numbers of all channels with a value up to ``level``, as widths allow."""
    parts = [r.ids[: r.legal[np.searchsorted(r.values, level, side="right")]] for r in found]
    return np.concatenate(parts)


def positions(found: list[Ranking]) -> list[Ranking]:
    """The same with each channel's place in its group (0 to 1) as its value: all groups give alike.

    Groups of one size take turns, so that no two values are the same.
    """
    step = 1e-9
    return [
        replace(r, values=(np.arange(len(r.ids)) + 0.5) / len(r.ids) + step * index)
        for index, r in enumerate(found)
    ]


def relative(found: list[Ranking]) -> list[Ranking]:
    """The same with each value as a multiple of its group's mean, for scores that layers do not share."""
    return [replace(r, values=r.values / _mean(r.values)) for r in found]


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.any() else 1.0
