"""Scales and zero points: weights per output channel, activations per tensor."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from onnxcomp.observed import Observed
from onnxcomp.passes.qat.clipping import Method, clip_range
from onnxcomp.passes.qat.grid import TINY, Grid
from onnxcomp.passes.qat.weight_clipping import least_squares_factors

__all__ = ["Method", "WeightMethod", "activation_encoding", "weight_scale"]

WeightMethod = Literal["max", "mse"]


def weight_scale(
    values: npt.NDArray[np.float32], axis: int, *, bits: int = 8, method: WeightMethod = "max"
) -> npt.NDArray[np.float32]:
    """Scale of each output channel; 1 for a channel of zeros.

    Args:
        values: float32 weights, masked.
        axis: the output-channel axis.
        bits: 2 to 8; integers are symmetric, up to ``2^(bits-1) - 1``.
        method: ``max``: the largest weight maps to the largest integer, so no weight clips (Jacob et al.
            2018, arXiv 1712.05877, section 3.1). ``mse``: of least squared error; see
            :mod:`onnxcomp.passes.qat.weight_clipping`.

    Returns:
        float32 of shape (channels,), all > 0.
    """
    levels = 2 ** (bits - 1) - 1
    others = tuple(i for i in range(values.ndim) if i != axis)
    largest = np.maximum(values.max(axis=others, initial=0), -values.min(axis=others, initial=0))
    scale = largest / np.float32(levels)
    empty = scale < TINY
    scale[empty] = 1
    if method == "mse":
        rows = np.moveaxis(values, axis, 0).reshape(len(scale), -1)
        scale *= np.where(empty, np.float32(1), least_squares_factors(rows, scale, bits))
    found: npt.NDArray[np.float32] = np.maximum(scale, np.float32(TINY))
    return found


def activation_encoding(
    observed: Observed, method: Method, percentile: float, grid: Grid
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.generic]]:
    """Scale and zero point of a tensor; scale 1 where it was always 0.

    Args:
        method: how the range is clipped; see :func:`onnxcomp.passes.qat.clipping.clip_range`.
        percentile: 0 to 100, of the absolute values; used by ``percentile`` alone.

    Returns:
        float32 () above 0, and ``grid.dtype`` (), which stands for 0.0 exactly.
    """
    low, high = (0.0, 0.0) if observed.largest < TINY else clip_range(observed, method, percentile, grid)
    scale, zero = grid.encode(np.array([low]), np.array([high]))
    return np.array(scale[0], np.float32), np.array(zero[0], grid.dtype)
