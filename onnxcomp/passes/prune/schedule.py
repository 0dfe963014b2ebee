"""When weights are pruned: the cubic schedule of Zhu & Gupta 2017 (arXiv 1710.01878, eq. 1)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CubicSchedule:
    """Sparsity rises from ``initial`` to ``final`` between two steps, fast first and slow at the end.

    Attributes:
        initial, final: share of the weights that is zero, 0 to 1.
        begin, end: training steps, ``begin <= end``.
        frequency: steps between two updates of the masks.
    """

    initial: float
    final: float
    begin: int
    end: int
    frequency: int

    def sparsity(self, step: int) -> float:
        """Sparsity wanted at ``step``: ``s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3``."""
        if step < self.begin:
            return self.initial
        if step >= self.end:
            return self.final
        left = 1 - (step - self.begin) / (self.end - self.begin)
        return self.final + (self.initial - self.final) * left**3

    def is_due(self, step: int) -> bool:
        """Whether the masks change before ``step``; the last change is at ``end``.

        The first step is always one of them: it brings the initial sparsity.
        """
        if step == 0:
            return True
        if step < self.begin or step > self.end:
            return False
        return step == self.end or (step - self.begin) % self.frequency == 0
