"""How the values of one tensor lie, in a few bins: small enough to stand in a table of layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcomp.observed import Observed

BINS = 48
QUANTILES = (0.01, 0.5, 0.99)


@dataclass(frozen=True)
class Histogram:
    """Values of a tensor that are not 0.

    Attributes:
        low, high: smallest and largest.
        counts: of :data:`BINS` equal bins from ``-limit`` to ``limit``.
        limit: the largest magnitude.
        quantiles: at :data:`QUANTILES`.
    """

    low: float
    high: float
    counts: tuple[float, ...]
    limit: float
    quantiles: tuple[float, ...]

    @property
    def heights(self) -> tuple[float, ...]:
        """The square root of each count, beside the largest: from 0 to 1, so that tails show."""
        most = max(self.counts, default=0.0) or 1.0
        return tuple(float(np.sqrt(value / most)) for value in self.counts)


def of_values(values: NDArray[Any]) -> Histogram | None:
    """Of an array; None where it holds nothing but 0, or a value that is not finite."""
    flat = values.reshape(-1).astype(np.float64)
    flat = flat[flat != 0]
    if not flat.size or not np.isfinite(flat).all():
        return None
    limit = float(np.abs(flat).max())
    counts, _ = np.histogram(flat, BINS, (-limit, limit))
    quantiles = tuple(float(value) for value in np.quantile(flat, QUANTILES))
    return Histogram(float(flat.min()), float(flat.max()), tuple(map(float, counts)), limit, quantiles)


def of_observed(seen: Observed) -> Histogram | None:
    """Of what calibration saw, but for its bin that begins at 0, where a ReLU's zeros are."""
    limit = seen.largest
    if not limit or not seen.counts.sum():
        return None
    counts = seen.counts.copy()
    counts[len(counts) // 2] = 0
    # The last bin reaches beyond the largest value, and so may its middle.
    middles = np.clip((seen.edges[:-1] + seen.edges[1:]) / 2, seen.low, seen.high)
    binned, _ = np.histogram(middles, BINS, (-limit, limit), weights=counts)
    total = np.cumsum(counts)
    places = np.searchsorted(total, np.array(QUANTILES) * total[-1]) if total[-1] else [0] * len(QUANTILES)
    quantiles = tuple(float(middles[min(int(place), len(middles) - 1)]) for place in places)
    return Histogram(float(seen.low), float(seen.high), tuple(map(float, binned)), limit, quantiles)
