"""The integers that an activation may become."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
TINY = float(np.finfo(np.float32).tiny)
"""The smallest scale: below it float32 loses digits."""


@dataclass(frozen=True)
class Grid:
    """An integer type and how real numbers map to it.

    Attributes:
        dtype: int8 or uint8.
        low, high: smallest and largest integer.
        symmetric: the zero point is 0 and the largest magnitude maps to 127, as TensorRT wants; otherwise
            the zero point is chosen, 0 for values that are never negative, as x86 kernels like.
    """

    dtype: type[np.int8] | type[np.uint8]
    low: int
    high: int
    symmetric: bool

    def encode(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Scales, as float32 holds them, and zero points for ranges.

        0.0 is an integer of every grid: the zero point is rounded (Jacob et al. 2018, arXiv 1712.05877,
        section 2.1), so a range moves by at most half a step.

        Args:
            low, high: float64 (K,), ``low <= 0 <= high``.

        Returns:
            Scale, 1 where the range is too narrow for one, and zero point; both float64 (K,).
        """
        width = (
            np.maximum(-low, high) / self.high if self.symmetric else (high - low) / (self.high - self.low)
        )
        scale = width.astype(np.float32).astype(np.float64)
        scale = np.where(scale < TINY, 1.0, scale)
        if self.symmetric:
            return scale, np.zeros_like(scale)
        return scale, np.clip(np.rint(self.low - low / scale), self.low, self.high)


INT8 = Grid(np.int8, -128, 127, symmetric=True)
UINT8 = Grid(np.uint8, 0, 255, symmetric=False)
