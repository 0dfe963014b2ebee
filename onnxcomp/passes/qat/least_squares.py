"""Clipping by least squared error on the grid that the activation will have.

"MSE" of Nagel et al. 2021, arXiv 2106.08295, section 3.1. The error of a candidate is exact for values in the
centres of their bins: between two roundings it is a quadratic of cumulative moments, so one candidate costs
256 terms and not one for each bin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxcomp.observed import BINS, Observed
from onnxcomp.passes.qat.grid import Grid

Floats = npt.NDArray[np.float64]
COARSE = np.linspace(0.02, 1, 50)
"""Shares of a limit that are tried."""
FINE = np.linspace(-0.02, 0.02, 17)
"""Moves of a limit, as shares of it, that are tried around the best of these."""


def least_squares(observed: Observed, grid: Grid) -> tuple[float, float]:
    """Lowest and highest value that does not clip.

    One limit for both signs first; where the grid has a zero point and values of both signs, then each limit
    for itself, the other as it is.

    Args:
        observed: with a histogram, not all 0.
    """
    moments = Moments.of(observed)
    least, most = min(observed.low, 0.0), max(observed.high, 0.0)

    def best(low: Floats, high: Floats) -> tuple[float, float]:
        low, high = np.broadcast_arrays(np.clip(low, least, 0), np.clip(high, 0, most))
        index = int(np.argmin(moments.errors(*grid.encode(low, high), grid)))
        return float(low[index]), float(high[index])

    clips = observed.largest * COARSE
    low, high = best(-clips, clips)
    if grid.symmetric or not least or not most:
        clips = np.maximum(max(-low, high) + observed.largest * FINE, clips[0] / 4)
        return best(-clips, clips)
    low, high = best(np.array([low]), most * COARSE)
    low, high = best(least * COARSE, np.array([high]))
    low, high = best(np.array([low]), high + most * FINE)
    return best(low + least * FINE, np.array([high]))


@dataclass(frozen=True)
class Moments:
    """Cumulative moments of a histogram.

    Attributes:
        width: of a bin.
        first: how many bins of values below 0 there are.
        count, total, squares: float64 (bins + 1,): of all bins before each how many values there are, what
            they add up to, and their squares.
    """

    width: float
    first: int
    count: Floats
    total: Floats
    squares: Floats

    @classmethod
    def of(cls, observed: Observed) -> Moments:
        """Of the values in the centres of their bins; none of bins below 0 where all values are above."""
        first = BINS if observed.low < 0 else 0
        counts, width = observed.counts[BINS - first :], observed.limit / BINS
        centres = (np.arange(len(counts)) - first + 0.5) * width
        moments = (counts, counts * centres, counts * centres**2)
        return cls(width, first, *(np.concatenate([[0.0], np.cumsum(values)]) for values in moments))

    def errors(self, scale: Floats, zero: Floats, grid: Grid) -> Floats:
        """Sum of squared errors of each candidate.

        Args:
            scale, zero: float64 (K,).
        """
        integers = np.arange(grid.low, grid.high + 1) - zero[:, None]
        real = integers * scale[:, None]
        halves = (integers[:, 1:] - 0.5) * (scale / self.width)[:, None] + (self.first - 0.5)
        bins = np.empty((len(scale), integers.shape[1] + 1), np.intp)
        bins[:, 0], bins[:, -1] = 0, len(self.count) - 1
        bins[:, 1:-1] = np.clip(np.ceil(halves), 0, len(self.count) - 1)
        of_real = np.diff(self.count[bins]) * real
        of_real -= 2 * np.diff(self.total[bins])
        of_real *= real
        found: Floats = self.squares[-1] + of_real.sum(axis=1)
        return found
