"""Which channels go: the least important ones that save enough, in widths that kernels like."""

from __future__ import annotations

import math
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
        widths = [source.ids for source in dependencies.sources if source.name in group.members]
        order = _order(group.ids, values, widths, spans.get(index, []), alignment)
        legal = _legal(order, widths, spans.get(index, []), alignment)
        found.append(Ranking(order, np.maximum.accumulate(values[order]), legal))
    return found


def _order(ids: Array, values: np.ndarray, widths: list[Array], spans: list[Array], alignment: int) -> Array:
    """The least important first, so that what comes first can go whatever the values are.

    What has gone already comes first and the best of each span last. Where not all widths count the same
    channels, those that the same widths count come in blocks that leave all widths good.
    """
    order = ids[np.argsort(values[ids], kind="stable")]
    last = np.isin(order, _best(spans, values))
    gone = np.isneginf(values[order])
    rest = np.concatenate([order[~gone & ~last], order[~gone & last]])
    counts = np.stack([np.bincount(numbers, minlength=len(values))[rest] for numbers in widths])
    kinds, kind_of = np.unique(counts, axis=1, return_inverse=True)
    if kinds.shape[1] > 1:
        blocks = _blocks(rest, kinds, kind_of.reshape(-1), alignment)
        blocks.sort(key=lambda block: (bool(np.isin(block, order[last]).any()), values[block].max()))
        rest = np.concatenate(blocks)
    return np.concatenate([order[gone], rest])


def _best(spans: list[Array], values: np.ndarray) -> list[int]:
    """Of each span, small ones first, one that is worth most."""
    best: list[int] = []
    for numbers in sorted(spans, key=len):
        if not np.isin(numbers, best).any():
            reverse = numbers[::-1]  # of equals the last, as it goes last anyway
            best.append(int(reverse[np.argmax(values[reverse])]))
    return best


def _blocks(order: Array, kinds: Array, kind_of: Array, alignment: int) -> list[Array]:
    """Each kind, a column of counts by width, in parts that take a multiple from each width."""
    blocks: list[Array] = []
    for kind, counts in enumerate(kinds.T):
        size = math.lcm(*(alignment // math.gcd(alignment, int(count)) for count in counts if count))
        members = order[kind_of == kind]
        blocks += [members[start : start + size] for start in range(0, len(members), size)]
    return blocks


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
