"""Scales of symmetric INT8: weights per output channel, activations per tensor."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from onnxcomp.histogram import LEVELS, Histogram

Method = Literal["max", "percentile", "mse"]
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


def activation_scale(histogram: Histogram, method: Method, percentile: float) -> float:
    """Scale of a tensor whose absolute values were observed; 1 if they were all zero.

    Args:
        method: ``max``, ``percentile`` (of the absolute values) or ``mse`` (least squared error).
        percentile: 0 to 100, used by ``percentile`` alone.
    """
    if method == "max":
        clip = histogram.largest
    elif method == "percentile":
        clip = histogram.percentile(percentile)
    else:
        clip = histogram.best_clip()
    return clip / LEVELS if clip > SMALLEST else 1.0
