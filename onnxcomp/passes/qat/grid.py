"""The integers that an activation may become."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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


INT8 = Grid(np.int8, -128, 127, symmetric=True)
UINT8 = Grid(np.uint8, 0, 255, symmetric=False)
