"""A quantized weight times a factor per channel: its integers stay, up to their signs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxcomp import graphs

_SMALLEST = float(np.finfo(np.float32).tiny)


def scale_integers(
    integers: NDArray[np.int8], scale: NDArray[np.float32], factor: NDArray[np.float64], axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """The integers and scales of ``factor`` times a quantized weight: the same integers up to sign.

    Args:
        integers: int8, any shape, -127..127 where ``factor`` is negative.
        scale: float32 > 0, shape () or (C,).
        factor: float64, shape (C,), along ``axis`` of ``integers``.

    Returns:
        int8 of the same shape and float32 scales (C,), all > 0. A channel whose factor is 0, or so
        small that its scale is no normal float32, becomes integer 0 with its old scale.
    """
    old = np.broadcast_to(scale.astype(np.float64), factor.shape)
    new = old * np.abs(factor)
    alive = new >= _SMALLEST
    sign = np.where(alive, np.sign(factor), 0).astype(np.int8)
    return integers * graphs.along(sign, axis, integers.ndim), np.where(alive, new, old).astype(np.float32)
