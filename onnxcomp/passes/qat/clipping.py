"""The range of an activation that its integers are to reach; what lies outside clips."""

from __future__ import annotations

from typing import Literal

import numpy as np

from onnxcomp.observed import BINS, Observed
from onnxcomp.passes.qat.divergence import least_divergence
from onnxcomp.passes.qat.grid import Grid
from onnxcomp.passes.qat.least_squares import least_squares

Method = Literal["max", "moving-average", "percentile", "entropy", "mse"]
OF_RANGES: tuple[Method, ...] = ("max", "moving-average")
"""Methods that need no histogram."""


def clip_range(observed: Observed, method: Method, percentile: float, grid: Grid) -> tuple[float, float]:
    """Lowest and highest value that does not clip; 0 lies between them.

    ``max``: all that was seen. ``moving-average``: the running means of the batches' extremes (Jacob et al.
    2018, arXiv 1712.05877, section 3.1). ``percentile``: see :func:`of_percentile`. ``entropy``: see
    :mod:`onnxcomp.passes.qat.divergence`. ``mse``: see :mod:`onnxcomp.passes.qat.least_squares`.

    Args:
        observed: not all 0; with a histogram unless ``method`` is one of :data:`OF_RANGES`.
        percentile: 0 to 100, of the absolute values; used by ``percentile`` alone.
    """
    low, high = min(observed.low, 0.0), max(observed.high, 0.0)
    if method == "moving-average":
        return min(observed.moving_low, 0.0), max(observed.moving_high, 0.0)
    if method == "max" or not observed.limit:  # too small for a histogram
        return low, high
    if method == "mse":
        return least_squares(observed, grid)
    if method == "percentile":
        clip = of_percentile(observed, percentile)
    else:
        clip = least_divergence(
            observed.magnitudes, observed.limit, observed.largest, _levels(low, high, grid)
        )
    return max(low, -clip), min(high, clip)


def of_percentile(observed: Observed, percent: float) -> float:
    """The magnitude that ``percent`` % of the values do not exceed, interpolated inside its bin.

    McKinstry et al. 2018, arXiv 1809.04191; Wu et al. 2020, arXiv 2004.09602, compare 99.9 to 99.9999 %.
    Off by at most one bin, that is by 1/2,048 of the largest magnitude.
    """
    counts = observed.magnitudes
    inside = np.cumsum(counts)
    wanted = inside[-1] * percent / 100
    index = int(np.searchsorted(inside, wanted))
    if index == BINS:
        return observed.largest
    width = observed.limit / BINS
    start, end = index * width, min((index + 1) * width, observed.largest)
    share = 1 - (inside[index] - wanted) / max(counts[index], 1e-300)
    return float(start + (end - start) * share)


def _levels(low: float, high: float, grid: Grid) -> int:
    """How many integers the magnitudes from 0 to the largest become."""
    count = grid.high - grid.low + 1
    if grid.symmetric:
        return count // 2
    return round(count * max(-low, high) / (high - low))
