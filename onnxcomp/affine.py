"""A BatchNormalization as what it computes: one factor and one shift per channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray


class UnsuitableError(Exception):
    """Why one node stays as it is; never reaches a user."""


@dataclass(frozen=True)
class Affine:
    """Per channel: bn(x) = factor * x + shift. float64, shape (C,)."""

    factor: NDArray[np.float64]
    shift: NDArray[np.float64]


def affine(bn: gs.Node, channels: int | None = None) -> Affine:
    """``factor = gamma / sqrt(var + epsilon)``, ``shift = beta - mean * factor`` (ONNX BatchNormalization).

    Args:
        channels: how many there must be.

    Raises:
        UnsuitableError: parameters that are not constant or not finite, or a variance not above 0.
    """
    if not all(isinstance(tensor, gs.Constant) for tensor in bn.inputs[1:5]):
        raise UnsuitableError("its parameters are not constant")
    gamma, beta, mean, variance = (tensor.values.astype(np.float64) for tensor in bn.inputs[1:5])
    variance = variance + bn.attrs.get("epsilon", 1e-5)
    if np.any(variance <= 0):
        raise UnsuitableError("its variance is not above 0")
    factor = gamma / np.sqrt(variance)
    shift = beta - mean * factor
    expected = factor.shape if channels is None else (channels,)
    if factor.shape != expected or not np.all(np.isfinite([factor, shift])):
        raise UnsuitableError("its parameters are not finite")
    return Affine(factor, shift)
