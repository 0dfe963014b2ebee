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
SMALLEST = float(np.finfo(np.float32).tiny) * LEVELS


def weight_scale(values: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """``max |w| / 127`` over every axis but ``axis``; 1 for a channel of zeros.

    The largest weight maps to 127, so no weight clips (Jacob et al. 2018, arXiv 1712.05877,
    section 3.1, restricted to -127..127).

    Args:
        values: float32 weights, masked.
        axis: the output-channel axis.

    Returns:
        float32 of shape (channels,), all > 0.
    """
    others = tuple(i for i in range(values.ndim) if i != axis)
    largest = np.maximum(values.max(axis=others), -values.min(axis=others))
    scale = largest / np.float32(LEVELS)
    return np.where(largest > SMALLEST, scale, np.float32(1)).astype(np.float32)


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
