"""Values as activations have them, and what quantisation does to them, written plainly."""

from __future__ import annotations

import numpy as np

from onnxcomp.observed import Observed
from onnxcomp.passes.qat.grid import Grid

NAMES = ("normal", "relu", "heavy", "swish", "negative", "shifted", "saturated")


def values(name: str, size: int = 30_000, seed: int = 0) -> np.ndarray:
    """float32 (size,) of the named distribution."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal(size)
    found = {
        "normal": normal,
        "relu": np.maximum(normal - 0.5, 0) ** 2,
        "heavy": rng.standard_t(3, size),
        "swish": 2 * normal / (1 + np.exp(-2 * normal)),
        "negative": -rng.exponential(1, size),
        "shifted": 3 + normal,
        "saturated": np.clip(2 * normal, 0, 6),
    }
    return found[name].astype(np.float32)


def observed(*parts: np.ndarray, histogram: bool = True) -> Observed:
    found = Observed(histogram=histogram)
    for part in parts:
        found.add(part)
    return found


def error(of: np.ndarray, scale: float, zero: float, grid: Grid) -> float:
    """Sum of squared errors of QuantizeLinear and DequantizeLinear, in float64."""
    real = of.astype(np.float64)
    quantized = np.clip(np.rint(real / scale) + zero, grid.low, grid.high)
    return float(((quantized - zero) * scale - real) @ ((quantized - zero) * scale - real))
