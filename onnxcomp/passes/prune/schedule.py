"""When weights are pruned: how the share of zeros rises over the steps of training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from onnxcomp.errors import RecipeError

UPDATES = 10
"""In a short training the masks are updated more often than asked for, so that so many updates close them."""


def _steps(value: float) -> float:
    """A whole number as such; refuses broken steps."""
    if value > 1 and value != int(value):
        raise ValueError("above 1 it counts steps, which are whole")
    return int(value) if value > 1 else value


Point = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_steps)]
"""When, or how often: up to 1 a share of training, above it steps."""


@dataclass(frozen=True)
class Schedule(ABC):
    """The share of zeros over the steps: never falling, and exactly the final one from ``end`` on.

    Attributes:
        initial: share of zeros before ``begin``, 0 to 1.
        begin, end: training steps, ``begin <= end``; after ``end`` masks are frozen.
        frequency: steps between two updates of the masks.
    """

    initial: float
    begin: int
    end: int
    frequency: int

    def is_due(self, step: int) -> bool:
        """Whether the masks change before ``step``; the last change is at ``end``.

        The first step is always one of them: it brings the initial sparsity.
        """
        if step == 0:
            return True
        if step < self.begin or step > self.end:
            return False
        return step == self.end or (step - self.begin) % self.frequency == 0

    def sparsity(self, step: int, final: float) -> float:
        """Share of zeros wanted at ``step`` of weights of which ``final`` shall be zero at the end."""
        initial = min(self.initial, final)
        if step >= self.end:
            return final
        return initial if step < self.begin else self._between(step, initial, final)

    def relative_threshold(self, step: int) -> float:
        """Of the candidates for zero those go whose score is below this times the largest among them.

        At 1 all go; only :class:`Ramp` has less.
        """
        return 1.0

    @abstractmethod
    def _between(self, step: int, initial: float, final: float) -> float:
        """Share of zeros at ``begin <= step < end``."""


class Cubic(Schedule):
    """Fast first and slow at the end (Zhu & Gupta 2017, arXiv 1710.01878, eq. 1).

    ``s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3``
    """

    def _between(self, step: int, initial: float, final: float) -> float:
        left = 1 - (step - self.begin) / (self.end - self.begin)
        return final + (initial - final) * left**3


class Iterative(Schedule):
    """Rounds of pruning and training (Han et al. 2015, arXiv 1506.02626, section 3.3).

    Each takes the same share of the weights that are left. The first is ``frequency`` after ``begin``, the
    last at ``end``.
    """

    def _between(self, step: int, initial: float, final: float) -> float:
        rounds = -(-(self.end - self.begin) // self.frequency)
        done = (step - self.begin) // self.frequency
        if not done:
            return initial
        return float(1 - (1 - initial) * ((1 - final) / (1 - initial)) ** (done / rounds))


class OneShot(Schedule):
    """All at once, at ``begin``."""

    def _between(self, step: int, initial: float, final: float) -> float:
        return final


class Ramp(Schedule):
    """A threshold that rises linearly, and half as fast again from the middle on.

    Narang et al. 2017 (arXiv 1704.05119), algorithm 1 with phi = 1.5 theta and the middle of the interval for
    ``ramp_itr``, as their table 1 has it. They take the final threshold from a dense network's weights; here
    it is, at every update, the score at the final share of zeros, so that this is what is reached.
    """

    def _between(self, step: int, initial: float, final: float) -> float:
        return final

    def relative_threshold(self, step: int) -> float:
        """``theta (t - t_0)``, then ``theta (t_r - t_0) + 1.5 theta (t - t_r)``; 1 at the end."""
        if step >= self.end:
            return 1.0
        if step < self.begin:
            return 0.0
        way = (step - self.begin) / (self.end - self.begin)
        return (way + 0.5 * max(way - 0.5, 0)) / 1.25


KINDS: dict[str, type[Schedule]] = {
    "one-shot": OneShot,
    "iterative": Iterative,
    "cubic": Cubic,
    "ramp": Ramp,
}


def make(name: str, *, initial: float, begin: float, end: float, frequency: float, steps: int) -> Schedule:
    """The schedule called ``name`` over a training of ``steps`` steps; its end lies inside the training.

    In a short training the masks of ``cubic`` and ``ramp`` are updated more often than that: see
    :data:`UPDATES`.

    Args:
        name: a key of :data:`KINDS`; ``one-shot`` reads ``begin`` alone.
        initial: share of zeros from the first step on.
        begin, end: up to 1 a share of training, above it steps.
        frequency: below 1 a share of training, from 1 on steps.

    Raises:
        RecipeError: a step lies outside the training, or the end before the beginning.
    """
    first = _step("begin", begin, steps)
    if name == "one-shot":
        return OneShot(0.0, first, first, 1)
    last = _step("end", end, steps)
    if last < first:
        raise RecipeError(
            f"its masks close from step {first} to step {last} of {steps}", where=name, fix="raise end"
        )
    every = round(frequency * steps) if frequency < 1 else int(frequency)
    if name != "iterative":
        every = min(every, (last - first) // UPDATES)
    return KINDS[name](initial, first, last, max(1, every))


def _step(what: str, point: float, steps: int) -> int:
    last = max(steps - 1, 0)
    if point <= 1:
        return min(round(point * steps), last)
    if point > last:
        raise RecipeError(
            f"masks would {what} to close at step {point:g} of a training of {steps} steps",
            where=f"{what}={point:g}",
            fix="train longer, or give a share of training up to 1",
        )
    return int(point)
