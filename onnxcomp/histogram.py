"""A histogram of absolute values that grows with its data: one pass, bounded memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BINS = 2048
LEVELS = 127
"""Positive levels of symmetric INT8."""
SMALLEST = 1e-30
"""Magnitudes below this count as 0: their bins would be too narrow for float32."""


class Histogram:
    """Counts of ``|x|`` in :data:`BINS` equal bins of ``[0, limit]``.

    When a larger value comes the limit doubles and neighbouring bins merge, so no value is lost and
    the order of the data changes nothing but the limit's binary scale.
    """

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.limit = 0.0
        self.largest = 0.0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count ``values`` of any shape.

        Raises:
            ValueError: a value is not finite.
        """
        magnitudes = np.abs(values.reshape(-1))
        largest = float(magnitudes.max(initial=0.0))
        if largest < SMALLEST:
            largest = 0.0
        if not np.isfinite(largest):
            raise ValueError("not finite")
        self.largest = max(self.largest, largest)
        self._grow(largest)
        if self.limit == 0:
            self.counts[0] += magnitudes.size
            return
        bins = (magnitudes * np.float32(BINS / self.limit)).astype(np.int32)
        np.minimum(bins, BINS - 1, out=bins)
        self.counts += np.bincount(bins, minlength=BINS)

    def _grow(self, largest: float) -> None:
        if largest <= self.limit:
            return
        if self.limit == 0:
            self.limit = float(2.0 ** np.ceil(np.log2(largest)))
            return
        while self.limit < largest:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros(BINS // 2, np.int64)])
            self.limit *= 2

    @property
    def centers(self) -> npt.NDArray[np.float64]:
        """Middle of each bin."""
        width = self.limit / BINS
        return (np.arange(BINS, dtype=np.float64) + 0.5) * width

    def percentile(self, percent: float) -> float:
        """The magnitude that ``percent`` (0 to 100) of the values do not exceed, within a bin."""
        total = int(self.counts.sum())
        if total == 0:
            return 0.0
        index = int(np.searchsorted(np.cumsum(self.counts), total * percent / 100))
        return min((min(index, BINS - 1) + 1) * self.limit / BINS, self.largest)

    def best_clip(self, candidates: int = 100) -> float:
        """The clipping magnitude whose INT8 grid gives the least mean squared error."""
        if self.largest == 0:
            return 0.0
        values, counts = self.centers, self.counts.astype(np.float64)
        clips = self.largest * np.linspace(1 / candidates, 1, candidates)
        scales = clips[:, None] / LEVELS
        quantized = np.minimum(np.rint(values[None] / scales), LEVELS) * scales
        errors = ((quantized - values[None]) ** 2) @ counts
        return float(clips[int(np.argmin(errors))])
