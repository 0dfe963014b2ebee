"""What is known of channels that a positive factor may scale.

The walk is that of :mod:`onnxcomp.passes.channels`: grids of channel numbers that follow each channel through
operators that move values. It differs in where channels end: behind every layer and normalisation new ones
begin, because what is made there may be scaled by a factor of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.passes.channels.analysis import Analysis
from onnxcomp.passes.channels.ids import FIXED, Array


@dataclass(frozen=True, eq=False)
class Weighed:
    """A constant that a factor multiplies, or divides.

    Attributes:
        constant: float32, read by nobody else.
        table: the channel of each element, of the constant's rank; sizes of 1 broadcast.
        inverse: whether it is divided: it reads the channel; otherwise it makes it.
    """

    constant: gs.Constant
    table: Array
    inverse: bool


@dataclass(frozen=True, eq=False)
class Norm:
    """A BatchNormalization: statistics follow what it reads, gamma and beta what it makes.

    Attributes:
        node: with constants for itself alone.
        reads, makes: the channels, (C,).
    """

    node: gs.Node
    reads: Array
    makes: Array


@dataclass(frozen=True, eq=False)
class Reader:
    """Who reads channels.

    Attributes:
        tensor: what is read.
        channels: those that it reads, in any order.
        weight: whose precision factors cost, with its table; None where scales per output channel, or a
            BatchNormalization, take up every factor.
    """

    tensor: gs.Tensor
    channels: Array
    weight: Weighed | None


class Walk(Analysis):
    """What is known so far.

    Attributes:
        weighed, norms, readers: in graph order.
    """

    def __init__(self, graph: gs.Graph) -> None:
        super().__init__(graph)
        self.weighed: list[Weighed] = []
        self.norms: list[Norm] = []
        self.readers: list[Reader] = []

    def multiply(self, constant: gs.Constant, table: Array) -> None:
        """Let the factors of the channels in ``table`` multiply ``constant``."""
        self.weighed.append(Weighed(constant, table, inverse=False))

    def read(self, tensor: gs.Tensor, channels: Array, weighed: Weighed | None, *, free: bool) -> None:
        """Note a reader.

        Args:
            weighed: the weight that divides by the factors; None for a BatchNormalization.
            free: whether the weight's scales take the factors up.
        """
        if weighed is not None:
            self.weighed.append(weighed)
        self.readers.append(Reader(tensor, np.unique(channels), None if free else weighed))

    def refuse(self, node: gs.Node, reason: str = "") -> None:
        """Leave every channel that ``node`` reads as it is."""
        for tensor in node.inputs:
            self.keep(tensor, reason or f"{node.op} {node.name} is not homogeneous")

    def fresh(self, tensor: gs.Tensor, count: int, axis: int = 1) -> Array:
        """New channels along an axis of ``tensor``."""
        numbers = self.ids.fresh(count)
        shape = [1] * self.grid(tensor).ndim
        if not shape:
            self.ids.keep(numbers, f"{tensor.name} has an unknown shape")
            return numbers
        shape[axis] = count
        # Not shrunk: a single channel is one too.
        self.grids[tensor.name] = numbers.reshape(shape)
        return numbers


def own(node: gs.Node, index: int) -> gs.Constant | None:
    """The constant behind an input and its mask that nobody else reads; None for any other tensor."""
    if index >= len(node.inputs):
        return None
    tensor = node.inputs[index]
    while True:
        if len(tensor.outputs) != 1 or sum(other is tensor for other in node.inputs) != 1:
            return None
        if isinstance(tensor, gs.Constant):
            return tensor
        if not tensor.inputs or graphs.mask_of(tensor.inputs[0]) is None:
            return None
        node = tensor.inputs[0]
        tensor = node.inputs[0]


def absent(node: gs.Node, index: int) -> bool:
    """Whether an optional input is not there."""
    return index >= len(node.inputs) or node.inputs[index].is_empty()


def is_zero(tensor: gs.Tensor) -> bool:
    """Whether a tensor is a constant of zeros, or absent."""
    return tensor.is_empty() or (isinstance(tensor, gs.Constant) and not np.any(tensor.values))


def vector(values: Array, axis: int, rank: int) -> Array:
    """Channel numbers (C,) along an axis of a tensor of ``rank``."""
    return values.reshape([-1 if a == axis % rank else 1 for a in range(rank)])


def is_free(grid: Array) -> bool:
    """Whether a grid holds channels at all."""
    return bool((grid != FIXED).any())


def size(tensor: gs.Tensor) -> int:
    """Elements of a constant."""
    return math.prod(tensor.shape)
