"""Decoded images of one size, kept in memory; each is decoded when first asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]


class Decoded:
    """Thread-safe store of ``count`` images of shape (H, W, 3).

    Threads decode at the same time, without a lock: two that ask for one image at once both decode
    it, and write the same bytes.

    Args:
        read: gives the image of an index, uint8 of shape (H, W, 3).
    """

    def __init__(self, count: int, size: Size, read: Callable[[int], NDArray[np.uint8]]) -> None:
        self._read = read
        self._pixels = np.empty((count, *size, 3), np.uint8)
        self._done = np.zeros(count, bool)

    def load(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copies of the images, in the order of ``indices``; whatever ``read`` raises."""
        for index in np.unique(indices[~self._done[indices]]):
            self._pixels[index] = self._read(int(index))
            self._done[index] = True  # last: another thread may look now
        return self._pixels[indices]
