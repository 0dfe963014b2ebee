"""What was seen of one activation: range, moving range and a histogram that grows with its data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 4096
"""Bins of each sign: at least 2,048 of them reach from 0 to the largest magnitude."""
DECAY = 0.9
"""Of the moving range: the share that a batch leaves of what was before it."""
SMALLEST = 1e-30
"""Where no magnitude reaches it there is no histogram: bins would be too narrow for float32."""
PIECE = 2**18
"""Values that are counted at once: they stay in the second-level cache."""
EXACT = 2**16
"""Of fewer values at once every one is counted."""
STRIDE = 13
"""Of more the bulk is counted on every 13th, a prime that divides few widths and numbers of channels."""
TAIL = 1 / 256
"""At most this share, of the largest magnitudes, is counted value by value all the same."""

Counts = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]


class Observed:
    """Statistics of all values of a tensor, in one pass and bounded memory.

    ``counts`` has :data:`BINS` equal bins of ``[-limit, 0)`` and as many of ``[0, limit)``. The limit is a
    power of two, so no value changes its bin by rounding. When a larger magnitude comes the limit doubles
    and neighbouring bins merge, so no value is lost and the order of the data changes nothing but the
    moving range. Ranges and tails are exact; the bulk of a large batch is an estimate from a sample, scaled
    up so that all counts add up to the number of values.

    Args:
        histogram: count values; without it only the ranges are kept, in a fifth of the time.

    Attributes:
        counts: float64 (2 * BINS,); (0,) without a histogram.
        limit: above every magnitude, or 0 while all were below :data:`SMALLEST`.
        low, high: smallest and largest value.
        moving_low, moving_high: running means of the batches' smallest and largest (Jacob et al. 2018,
            arXiv 1712.05877, section 3.1), with :data:`DECAY`.
        batches: how many were counted.
    """

    def __init__(self, *, histogram: bool = True) -> None:
        self.counts: Counts = np.zeros(2 * BINS if histogram else 0, np.float64)
        self.limit = 0.0
        self.low, self.high = np.inf, -np.inf
        self.moving_low, self.moving_high = 0.0, 0.0
        self.batches = 0
        self._batch = np.inf, -np.inf

    @property
    def histogram(self) -> bool:
        """Whether values are counted."""
        return len(self.counts) > 0

    @property
    def largest(self) -> float:
        """The largest magnitude; 0 where nothing was seen."""
        return max(-self.low, self.high, 0.0)

    def add(self, values: Values, *, ends: bool = True) -> None:
        """Count values, float32 of any shape; none change nothing.

        Args:
            ends: whether they are the last of a batch.

        Raises:
            ValueError: a value is not finite.
        """
        flat = values.reshape(-1)
        if not flat.size:
            return
        low, high = np.inf, -np.inf
        for start in range(0, flat.size, PIECE):
            piece = flat[start : start + PIECE]
            least, most = float(piece.min()), float(piece.max())
            if not (math.isfinite(least) and math.isfinite(most)):
                raise ValueError("not finite")
            low, high = min(low, least), max(high, most)
            if self.histogram:
                self._grow(max(-least, most))
                self._count(piece, least < 0)
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._batch = min(self._batch[0], low), max(self._batch[1], high)
        if ends:
            self._move(*self._batch)
            self._batch = np.inf, -np.inf

    def _move(self, low: float, high: float) -> None:
        keep = DECAY if self.batches else 0.0
        self.moving_low = keep * self.moving_low + (1 - keep) * low
        self.moving_high = keep * self.moving_high + (1 - keep) * high
        self.batches += 1

    def _count(self, piece: Values, signed: bool) -> None:
        """Count a piece: all of it, or its tails and a sample of the rest."""
        if not self.limit:  # the sign is all that is known
            negative = np.count_nonzero(piece < 0)
            self.counts[BINS - 1] += negative
            self.counts[BINS] += piece.size - negative
        elif piece.size < EXACT:
            _add(self.counts, self._bins(piece, signed), 1.0)
        else:
            self._sample(piece, signed)

    def _sample(self, piece: Values, signed: bool) -> None:
        sample = self._bins(piece[::STRIDE], signed)
        magnitudes = _magnitudes(sample) if signed else sample
        inside = np.cumsum(magnitudes)
        first = int(np.searchsorted(inside, (1 - TAIL) * inside[-1])) + 1
        tails = piece[:0] if first == BINS else _beyond(piece, first * self.limit / BINS, signed)
        _add(self.counts, self._bins(tails, signed), 1.0)
        if signed:
            sample[: BINS - first] = 0
        sample[len(sample) - BINS + first :] = 0
        _add(self.counts, sample, (piece.size - tails.size) / int(inside[first - 1]))

    def _bins(self, values: Values, signed: bool) -> npt.NDArray[np.intp]:
        """How many values each bin gets: (2 * BINS,), or (BINS,) of the upper half where none is negative."""
        scaled = values * np.float32(BINS / self.limit)
        if not signed:
            return np.bincount(scaled.astype(np.intp), minlength=BINS)  # the cast cuts off: a floor
        np.floor(scaled, out=scaled)
        bins = scaled.astype(np.intp)
        bins += BINS
        return np.bincount(bins, minlength=2 * BINS)

    def _grow(self, largest: float) -> None:
        if largest < max(self.limit, SMALLEST):
            return
        limit = math.ldexp(1.0, math.frexp(largest)[1])
        self._widen_to(limit)

    def _widen_to(self, limit: float) -> None:
        """Merge bins until they reach ``limit``, a power of two."""
        if not self.limit:
            self.limit = limit
        while self.limit < limit:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(2 * BINS, np.float64)
            self.counts[BINS // 2 : BINS // 2 + BINS] = merged
            self.limit *= 2

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Lower edge of each bin and the upper one of the last: float64 (2 * BINS + 1,)."""
        return np.arange(-BINS, BINS + 1, dtype=np.float64) * (self.limit / BINS)

    @property
    def magnitudes(self) -> Counts:
        """Counts of the absolute values: float64 (BINS,)."""
        return _magnitudes(self.counts)


def _magnitudes(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Of both signs together: (BINS,)."""
    found: npt.NDArray[Any] = counts[BINS:] + counts[BINS - 1 :: -1]
    return found


def _add(counts: Counts, found: npt.NDArray[np.intp], weight: float) -> None:
    """Add to the upper part of ``counts`` what was found of each bin."""
    counts[len(counts) - len(found) :] += found if weight == 1 else found * weight


def _beyond(piece: Values, edge: float, signed: bool) -> Values:
    """Values of a magnitude beyond ``edge``, the lower edge of a bin."""
    above = piece[piece >= edge]
    return np.concatenate([above, piece[piece < -edge]]) if signed else above


def together(parts: Iterable[Observed]) -> Observed:
    """What would have been seen of tensors that share one scale. The parts stay as they are.

    There is a histogram where all parts have one.
    """
    seen = list(parts)
    whole = Observed(histogram=all(part.histogram for part in seen))
    for part in seen:
        if whole.histogram:
            copy = _copy(part)
            limit = max(whole.limit, part.limit)
            for one in (whole, copy):
                one._widen_to(limit)
            whole.counts += copy.counts
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
