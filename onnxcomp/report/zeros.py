"""Where the zeros of a weight are: in whole channels, in a 2:4 pattern, or anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnxcomp import graphs, two_four

Array = NDArray[Any]
Pattern = Literal["dense", "dead channels", "2:4", "unstructured"]
PATTERNS: tuple[Pattern, ...] = ("dense", "dead channels", "2:4", "unstructured")


@dataclass(frozen=True)
class Zeros:
    """The zeros of one weight.

    Attributes:
        count: elements that are 0.
        pattern: ``dense`` has none; in ``dead channels`` each lies in a channel that is all 0; ``2:4``
            and ``unstructured`` as they say. The first that holds.
        two_four: at every output and kernel position at most 2 of each 4 consecutive input channels
            are not 0 (TensorRT Developer Guide 8.5, 6.8), whatever ``pattern`` is.
        dead_outputs: output channels whose elements are all 0.
        dead_inputs: input channels that are read with 0 alone.
    """

    count: int
    pattern: Pattern
    two_four: bool
    dead_outputs: int
    dead_inputs: int


def find(weight: graphs.Weight, values: Array) -> Zeros:
    """Look at ``values`` of the weight's shape: the weight as the network uses it, through its mask."""
    alive = by_channel(weight, values) != 0
    count = alive.size - int(np.count_nonzero(alive))
    outputs, inputs = _dead(alive, 1, count), _dead(alive, 2, count)
    fits = two_four.holds(alive)
    explained = count == 0 or _in_dead_channels(outputs, inputs, alive.shape[3]) == count
    pattern: Pattern = "2:4" if fits else "unstructured"
    if explained:
        pattern = "dead channels" if count else "dense"
    return Zeros(count, pattern, fits, int(outputs.sum()), int(inputs.sum()))


def by_channel(weight: graphs.Weight, values: Array) -> Array:
    """``values`` as :func:`onnxcomp.two_four.by_channel` shows them."""
    return two_four.by_channel(weight.node, values, outputs_first=weight.axis == values.ndim - 2)


def _dead(alive: Array, axis: int, count: int) -> Array:
    """Whether each channel of ``axis`` is 0 along the others; bool (groups, channels)."""
    groups, channels = alive.shape[0], alive.shape[axis]
    if count * groups * channels < alive.size:  # too few for one
        return np.zeros((groups, channels), np.bool_)
    found: Array = np.logical_not(alive.any((3 - axis, 3)))
    return found


def _in_dead_channels(outputs: Array, inputs: Array, positions: int) -> int:
    """How many elements lie in a dead output, a dead input or both."""
    dead_outputs, dead_inputs = outputs.sum(1), inputs.sum(1)
    elements = dead_outputs * inputs.shape[1] + dead_inputs * (outputs.shape[1] - dead_outputs)
    return int(elements.sum()) * positions
