"""What was seen of one activation: range, moving range and a histogram that grows with its data."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

BINS = 2048
"""Bins of each sign."""
DECAY = 0.9
"""Of the moving range: the share that a batch leaves of what was before it."""
SMALLEST = 1e-30
"""Magnitudes below this count as 0: their bins would be too narrow for float32."""


class Observed:
    """Statistics of all values of a tensor, in one pass and bounded memory.

    ``counts`` has :data:`BINS` equal bins of ``[-limit, 0)`` and as many of ``[0, limit]``. When a larger
    magnitude comes the limit doubles and neighbouring bins merge, so no value is lost and the order of
    the data changes nothing but the moving range.

    Attributes:
        counts: int64 (2 * BINS,).
        limit: a power of two, or 0 while all values were 0.
        low, high: smallest and largest value.
        moving_low, moving_high: running means of the batches' smallest and largest (Jacob et al. 2018,
            arXiv 1712.05877, section 3.1), with :data:`DECAY`.
        batches: how often :meth:`add` was called.
    """

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros(2 * BINS, np.int64)
        self.limit = 0.0
        self.low, self.high = np.inf, -np.inf
        self.moving_low, self.moving_high = 0.0, 0.0
        self.batches = 0

    @property
    def largest(self) -> float:
        """The largest magnitude; 0 where nothing was seen."""
        return max(-self.low, self.high, 0.0)

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count a batch of values, of any shape.

        Raises:
            ValueError: a value is not finite.
        """
        flat = values.reshape(-1)
        low, high = float(flat.min(initial=np.inf)), float(flat.max(initial=-np.inf))
        if not np.isfinite(low) or not np.isfinite(high):
            raise ValueError("not finite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        keep = DECAY if self.batches else 0.0
        self.moving_low = keep * self.moving_low + (1 - keep) * low
        self.moving_high = keep * self.moving_high + (1 - keep) * high
        self.batches += 1
        self._grow(max(-low, high))
        if self.limit == 0:
            self.counts[BINS] += flat.size
            return
        bins = np.floor(flat * np.float32(BINS / self.limit)).astype(np.int32)
        np.clip(bins, -BINS, BINS - 1, out=bins)
        self.counts += np.bincount(bins + BINS, minlength=2 * BINS)

    def _grow(self, largest: float) -> None:
        if largest < SMALLEST or largest <= self.limit:
            return
        if self.limit == 0:
            self.limit = float(2.0 ** np.ceil(np.log2(largest)))
            return
        while self.limit < largest:
            self._double()

    def _double(self) -> None:
        merged = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros(2 * BINS, np.int64)
        self.counts[BINS // 2 : BINS // 2 + BINS] = merged
        self.limit *= 2

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Lower edge of each bin and the upper one of the last: float64 (2 * BINS + 1,)."""
        return np.arange(-BINS, BINS + 1, dtype=np.float64) * (self.limit / BINS)

    @property
    def magnitudes(self) -> npt.NDArray[np.int64]:
        """Counts of the absolute values: int64 (BINS,)."""
        return self.counts[BINS:] + self.counts[BINS - 1 :: -1]


def together(parts: Iterable[Observed]) -> Observed:
    """What would have been seen of tensors that share one scale. The parts stay as they are."""
    whole = Observed()
    for part in parts:
        part = _copy(part)
        limit = max(whole.limit, part.limit)
        for one in (whole, part):
            if one.limit == 0:
                one.limit = limit  # zeros lie in the bin of 0 whatever the limit
            while one.limit < limit:
                one._double()
        whole.counts += part.counts
        whole.low, whole.high = min(whole.low, part.low), max(whole.high, part.high)
        whole.moving_low = min(whole.moving_low, part.moving_low)
        whole.moving_high = max(whole.moving_high, part.moving_high)
        whole.batches = max(whole.batches, part.batches)
    return whole


def _copy(one: Observed) -> Observed:
    copy = Observed()
    copy.__dict__.update(one.__dict__)
    copy.counts = one.counts.copy()
    return copy
