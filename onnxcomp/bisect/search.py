"""Searches over what may be to blame, by trials that each cost a run of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Budget:
    """How many trials there may be.

    Args:
        trials: most of them.

    Attributes:
        left: how many are left.
    """

    def __init__(self, trials: int) -> None:
        self.left = trials


def first_position(count: int, lost: Callable[[int], bool]) -> int:
    """The position 1..count at which ``lost`` turns from False to True, by halving.

    ``lost(0)`` is taken as False and ``lost(count)`` as True. Where it turns more than once, one of the
    places where it turns to True is found.
    """
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        if lost(middle):
            high = middle
        else:
            low = middle
    return high


def smallest(
    suspects: Sequence[T], cured: Callable[[Sequence[T]], bool], budget: Budget
) -> tuple[list[T], bool]:
    """A small set of suspects without which all is well.

    The most suspect ones are taken, twice as many each time, until that cures; halving finds how many of them
    are needed, and then parts of what is left are tried without, ever smaller ones (Zeller and Hildebrandt,
    "Simplifying and Isolating Failure-Inducing Input", 2002: ddmin's complements).

    Args:
        suspects: most suspect first; all of them cure.
        cured: whether taking these away is enough.
        budget: of calls of ``cured``.

    Returns:
        The set, in the order of ``suspects``, and whether each of it is known to be needed; it is not where
        the budget ran out.
    """
    counted = _counted(cured, budget)
    count = 1
    while count < len(suspects) and not counted(suspects[:count]):
        count = min(2 * count, len(suspects))
    low = count // 2 if count > 1 else 0
    while count - low > 1 and budget.left > 0:
        middle = (low + count) // 2
        if counted(suspects[:middle]):
            count = middle
        else:
            low = middle
    return _reduced(list(suspects[:count]), counted, budget)


def _counted(cured: Callable[[Sequence[T]], bool], budget: Budget) -> Callable[[Sequence[T]], bool]:
    def call(chosen: Sequence[T]) -> bool:
        if budget.left <= 0:
            return False
        budget.left -= 1
        return cured(chosen)

    return call


def _reduced(chosen: list[T], cured: Callable[[Sequence[T]], bool], budget: Budget) -> tuple[list[T], bool]:
    parts = 2
    while len(chosen) > 1:
        size = -(-len(chosen) // parts)
        starts = range(0, len(chosen), size)
        # The least suspect part first: it is the likeliest to be harmless.
        for start in reversed(starts):
            without = [*chosen[:start], *chosen[start + size :]]
            if without and cured(without):
                chosen, parts = without, max(parts - 1, 2)
                break
        else:
            if budget.left <= 0:
                return chosen, False
            if size == 1:
                return chosen, True
            parts = min(2 * parts, len(chosen))
    return chosen, True
