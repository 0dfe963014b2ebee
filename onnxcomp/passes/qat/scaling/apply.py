"""Write factors into the constants that make and read channels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxcomp.passes.qat.scaling.find import Norm, Scaling

Factors = npt.NDArray[np.float64]


def scale(scaling: Scaling, factors: Factors) -> None:
    """Multiply each channel by its factor; the network computes the same up to rounding.

    Args:
        factors: float64 (scaling.size,), above 0.
    """
    by_number = np.append(factors, 1.0)  # FIXED is -1, the last place
    for one in scaling.weighed:
        factor = by_number[one.table]
        values = one.constant.values
        one.constant.values = (values / factor if one.inverse else values * factor).astype(values.dtype)
    for norm in scaling.norms:
        _normalise(norm, by_number[norm.reads], by_number[norm.makes])


def _normalise(norm: Norm, read: Factors, made: Factors) -> None:
    """BatchNormalization of ``read * x`` that gives ``made * y``; statistics stay those of what it reads.

    With var' = read^2 var, gamma' = gamma sqrt(read^2 var + eps) / (read sqrt(var + eps)) leaves
    gamma (x - mean) / sqrt(var + eps) as it is, epsilon included.
    """
    gamma, beta, mean, variance = (tensor.values.astype(np.float64) for tensor in norm.node.inputs[1:5])
    epsilon = float(norm.node.attrs.get("epsilon", 1e-5))
    spread = variance * read**2
    gamma = made * gamma * np.sqrt(spread + epsilon) / (read * np.sqrt(variance + epsilon))
    values = (gamma, made * beta, read * mean, spread)
    for tensor, value in zip(norm.node.inputs[1:5], values, strict=True):
        tensor.values = value.astype(np.float32)
