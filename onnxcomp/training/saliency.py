"""What a criterion knows of the gradients: a running mean of its statistic over the steps of training.

The gradients are those of a step, means over its images on all ranks, so ranks know the same. (`apply` looks
at one image at a time: the mean square of those is the empirical Fisher information, of which the mean square
of means is no estimate, but weights are only compared with each other.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from onnxcomp.training.blocks import Array, blocks, gather, line_aligned, places, scratch
from onnxcomp.training.flush import Flush

DECAY = 0.9
STEPS = 10
"""About the number of steps that the mean remembers: 1 / (1 - DECAY)."""
_TINY = 1e-34


class Saliency:
    """``value = DECAY * value + statistic(gradient)`` after every step, from 0.

    That is the running mean of the statistics but for a factor, the sum of the powers of ``DECAY``, which is
    the same for all weights and changes nothing in their order.

    Args:
        statistic: elementwise, from flat float32 gradients to a new array.
        sizes: shape of each weight by name.

    Attributes:
        values: live, float32, by name and of the weights' shapes.
    """

    def __init__(self, statistic: Callable[[Array], Array], sizes: Mapping[str, tuple[int, ...]]) -> None:
        self._statistic = statistic
        elements = {name: int(np.prod(shape)) for name, shape in sizes.items()}
        self._blocks = blocks(elements)
        self._total = line_aligned(self._blocks[-1].place.stop)
        self.values: dict[str, Array] = {
            name: self._total[place].reshape(sizes[name])
            for name, place in places(elements, self._blocks).items()
        }
        self._scratch = scratch(1)[0]
        self._flush = Flush()

    def add(self, gradients: Mapping[str, Array], step: int) -> None:
        """Take in the gradients of step ``step``; a weight without one counts as one of zeros."""
        absent = {name: np.zeros_like(v) for name, v in self.values.items() if name not in gradients}
        given = {**gradients, **absent}
        for block in self._blocks:
            value = self._total[block.place]
            np.multiply(value, np.float32(DECAY), value)
            np.add(value, self._statistic(gather(block.views(given), self._scratch)), value)
            if self._flush.is_due(block, step):
                self._flush(value, _TINY)
