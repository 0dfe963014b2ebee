"""Scales and zero points: weights per output channel, activations per tensor."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from onnxcomp.observed import BINS, Observed
from onnxcomp.passes.qat.grid import Grid

LEVELS = 127
"""Positive levels of symmetric INT8."""
Method = Literal["max", "moving-average", "percentile", "mse"]
WeightMethod = Literal["max", "mse"]
SMALLEST = float(np.finfo(np.float32).tiny) * LEVELS


def weight_scale(
    values: npt.NDArray[np.float32], axis: int, *, bits: int = 8, method: WeightMethod = "max"
) -> npt.NDArray[np.float32]:
    """Scale of each output channel; 1 for a channel of zeros.

    Args:
        values: float32 weights, masked.
        axis: the output-channel axis.
        bits: 2 to 8; integers are symmetric, up to ``2^(bits-1) - 1``.
        method: ``max``: the largest weight maps to the largest integer, so no weight clips (Jacob et al.
            2018, arXiv 1712.05877, section 3.1). ``mse``: of least squared error among
            :data:`CANDIDATES` clipping limits (Nagel et al. 2021, arXiv 2106.08295, section 3.1).

    Returns:
        float32 of shape (channels,), all > 0.
    """
    levels = 2 ** (bits - 1) - 1
    others = tuple(i for i in range(values.ndim) if i != axis)
    largest = np.maximum(values.max(axis=others), -values.min(axis=others))
    scale = largest / np.float32(levels)
    if method == "mse":
        rows = np.moveaxis(values, axis, 0).reshape(len(scale), -1)
        scale = scale * _best_factors(rows, scale, levels)
    return np.where(scale > SMALLEST / LEVELS, scale, np.float32(1)).astype(np.float32)


CANDIDATES = 24
"""Clipping limits that are tried, from :data:`LOWEST` times the largest magnitude up to it."""
LOWEST = {2: 0.2, 3: 0.3, 4: 0.4, 5: 0.5, 6: 0.6, 7: 0.7, 8: 0.8}
"""By bits: below it the error of clipping is larger in any distribution with a peak at 0 that was tried."""
_BLOCK = 2**15


def _best_factors(
    rows: npt.NDArray[np.float32], scales: npt.NDArray[np.float32], levels: int
) -> npt.NDArray[np.float32]:
    """Of each row, the factor on its scale that gives the least squared error; float32 (rows,)."""
    bits = int(np.log2(levels + 1)) + 1
    factors = np.linspace(1, LOWEST[bits], CANDIDATES, dtype=np.float32)
    best = np.ones(len(rows), np.float32)
    step = max(1, _BLOCK // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        safe = np.where(scales[part] > SMALLEST / LEVELS, scales[part], np.float32(1))
        units = rows[part] / safe[:, None]
        least = np.full(len(units), np.inf, np.float32)
        for factor in factors:
            error = units / factor
            np.rint(error, out=error)
            np.clip(error, -levels, levels, out=error)
            error *= factor
            error -= units
            found = np.einsum("rk,rk->r", error, error)
            better = found < least
            best[part][better], least[better] = factor, found[better]
    return best


def activation_encoding(
    observed: Observed, method: Method, percentile: float, grid: Grid
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.generic]]:
    """Scale and zero point of a tensor; scale 1 where it was always 0.

    Args:
        method: how the range is clipped.
        percentile: 0 to 100, of the absolute values; used by ``percentile`` alone.

    Returns:
        float32 () above 0, and ``grid.dtype`` ().
    """
    if observed.largest <= SMALLEST:
        return np.array(1, np.float32), np.array(0, grid.dtype)
    low, high = _range(observed, method, percentile, grid)
    if max(-low, high) <= SMALLEST:
        return np.array(1, np.float32), np.array(0, grid.dtype)
    if grid.symmetric:
        scale = max(-low, high) / LEVELS
        return np.array(scale, np.float32), np.array(0, grid.dtype)
    scale = (high - low) / (grid.high - grid.low)
    zero = np.clip(np.rint(grid.low - low / scale), grid.low, grid.high)
    return np.array(scale, np.float32), np.array(zero, grid.dtype)


def _range(observed: Observed, method: Method, percentile: float, grid: Grid) -> tuple[float, float]:
    """Lowest and highest value that does not clip; 0 lies between them."""
    if method == "moving-average":
        return min(observed.moving_low, 0.0), max(observed.moving_high, 0.0)
    clip = observed.largest
    if method == "percentile":
        clip = min(clip, _percentile(observed, percentile))
    elif method == "mse":
        clip = _best_clip(observed)
    return max(min(observed.low, 0.0), -clip), min(max(observed.high, 0.0), clip)


def _percentile(observed: Observed, percent: float) -> float:
    counts = observed.magnitudes
    index = int(np.searchsorted(np.cumsum(counts), int(counts.sum()) * percent / 100))
    return (min(index, BINS - 1) + 1) * observed.limit / BINS


def _best_clip(observed: Observed, candidates: int = 100) -> float:
    values = (np.arange(BINS) + 0.5) * (observed.limit / BINS)
    clips = observed.largest * np.linspace(1 / candidates, 1, candidates)
    scales = clips[:, None] / LEVELS
    quantized = np.minimum(np.rint(values[None] / scales), LEVELS) * scales
    errors = ((quantized - values[None]) ** 2) @ observed.magnitudes.astype(np.float64)
    return float(clips[int(np.argmin(errors))])
