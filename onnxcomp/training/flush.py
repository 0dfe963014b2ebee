"""Against numbers too small to compute with."""

from __future__ import annotations

import numpy as np

from onnxcomp.training.blocks import PIECE, Array, Block

EVERY = 64
"""Steps between two turns of a block: seldom enough to cost next to nothing."""


class Flush:
    """Sets to 0 what is too small to matter.

    A pruned weight has no gradient, so its momentum shrinks geometrically for ever. Below 1e-38
    float32 is denormal, and a product takes a processor forty times as long; rounding to nearest
    keeps it from ever reaching 0.
    """

    def __init__(self) -> None:
        self._sizes = np.empty(PIECE, np.float32)
        self._tiny = np.empty(PIECE, np.bool_)

    def is_due(self, block: Block, step: int) -> bool:
        """Whether ``block`` has its turn at ``step``; at each step a few blocks have."""
        return int(block.place.start // PIECE + step) % EVERY == 0

    def __call__(self, values: Array, least: float) -> None:
        """Elements of ``values`` of at most ``least`` in size become 0, in place.

        Args:
            values: flat float32, at most ``PIECE`` elements.
        """
        sizes, tiny = self._sizes[: values.size], self._tiny[: values.size]
        np.abs(values, sizes)
        np.less_equal(sizes, least, tiny)
        np.copyto(values, 0, where=tiny)
