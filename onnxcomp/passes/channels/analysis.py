"""One walk over a graph that follows each channel from the weight that makes it to those that read it.

Every tensor gets a grid: an integer array of its rank that says for each position along an axis which
channel it holds, with size 1 along axes that all positions share. Operators that move elements do to
the grid what they do to the tensor; so a channel is found again behind Concat, Reshape or Transpose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.passes.channels.ids import FIXED, Array, Ids
from onnxcomp.shapes import shapes


@dataclass(frozen=True, eq=False)
class Source:
    """Where channels begin: the output axis of a weight, or padding.

    Attributes:
        name: of the weight, or of the node that pads.
        ids: one number a channel.
    """

    name: str
    ids: Array


class Analysis:
    """What is known so far.

    Attributes:
        ids: which channels go together.
        sources: where channels begin, in graph order.
        grids: by tensor name; a tensor without one holds no channels.
        constants: by the name of each constant, by axis, the channel of each position.
    """

    def __init__(self, graph: gs.Graph) -> None:
        self.graph = graph
        self.shapes = shapes(graph)
        self.ids = Ids()
        self.sources: list[Source] = []
        self.grids: dict[str, Array] = {}
        self.constants: dict[str, dict[int, Array]] = {}
        self._readers: dict[str, set[int]] = {}

    def dims(self, tensor: gs.Tensor) -> tuple[int, ...] | None:
        """The tensor's shape, a free batch as 1; None where another size is unknown."""
        found = self.shapes.sizes.get(tensor.name)
        if found is None or None in found:
            return None
        return tuple(size for size in found if size is not None)

    def grid(self, tensor: gs.Tensor) -> Array:
        """The grid of ``tensor``; all :data:`FIXED`, of size 1, where it holds no channels."""
        found = self.grids.get(tensor.name)
        if found is not None:
            return found
        return np.full((1,) * len(self.shapes.sizes.get(tensor.name, ())), FIXED, np.int64)

    def write(self, tensor: gs.Tensor, grid: Array) -> None:
        """Give ``tensor`` a grid, with size 1 along axes that do not matter."""
        grid = shrunk(grid)
        known = self.shapes.sizes.get(tensor.name)
        if known is not None and len(known) != grid.ndim:
            raise AssertionError(f"{tensor.name} has {len(known)} axes, its grid {grid.ndim}")
        if (grid != FIXED).any():
            self.grids[tensor.name] = grid

    def channels(self, tensor: gs.Tensor, axis: int, node: gs.Node) -> Array:
        """The channel of each position along ``axis``, shape (C,); channels along other axes are kept."""
        grid = self.grid(tensor)
        dims = self.dims(tensor)
        if dims is None:
            self.keep(tensor, f"{node.op} {node.name} reads a tensor of unknown shape")
            return np.full(1, FIXED, np.int64)
        axis %= len(dims)
        if any(size > 1 for other, size in enumerate(grid.shape) if other != axis):
            self.keep(tensor, f"{node.op} {node.name} reads them along another axis")
            return np.full(dims[axis], FIXED, np.int64)
        return np.broadcast_to(grid.reshape(-1), dims[axis])

    def keep(self, tensor: gs.Tensor, reason: str) -> None:
        """Keep every channel that ``tensor`` holds."""
        if tensor.name in self.grids:
            self.ids.keep(self.grids[tensor.name], reason)

    def source(self, tensor: gs.Tensor, axis: int, count: int, node: gs.Node) -> Array:
        """Channels that the weight behind ``tensor`` makes along ``axis``; read twice, it makes the same."""
        constant = graphs.constant_behind(tensor)
        name = node.name if constant is None else constant.name
        known = self.constants.get(name, {}).get(axis)
        if known is not None and len(known) == count:
            return known
        ids = self.ids.fresh(count)
        self.sources.append(Source(name, ids))
        return ids

    def bind(self, tensor: gs.Tensor, axis: int, channels: Array, node: gs.Node) -> None:
        """Say which channel each position along ``axis`` of a constant belongs to.

        Args:
            tensor: a constant, or what mask and Q/DQ make of one: their constants are bound too.
            channels: shape (size of the axis,).
            node: who reads it so.
        """
        while not isinstance(tensor, gs.Constant):
            producer = tensor.inputs[0]
            for companion in producer.inputs[1:]:
                along_axis = producer.op == "Mul" or int(producer.attrs.get("axis", 1)) == axis
                if along_axis and not companion.is_empty() and math.prod(companion.shape) > 1:
                    own = axis if producer.op == "Mul" else 0
                    self._bind(companion, own, channels, producer)
            self._readers.setdefault(producer.inputs[0].name, set()).add(id(producer))
            tensor = producer.inputs[0]
        self._bind(tensor, axis, channels, node)

    def _bind(self, constant: gs.Constant, axis: int, channels: Array, node: gs.Node) -> None:
        self._readers.setdefault(constant.name, set()).add(id(node))
        axes = self.constants.setdefault(constant.name, {})
        channels = np.broadcast_to(channels, constant.shape[axis])
        if axis in axes:
            self.ids.join(axes[axis], channels, f"{node.op} {node.name} shares {constant.name}")
        axes[axis] = channels

    def foreign_readers(self, constant: gs.Constant) -> list[gs.Node]:
        """Nodes that read a bound constant in a way that no rule knows."""
        known = self._readers.get(constant.name, set())
        return [node for node in constant.outputs if id(node) not in known]


def shrunk(grid: Array) -> Array:
    """The grid with size 1 along each axis along which nothing changes."""
    for axis, size in enumerate(grid.shape):
        first = grid.take([0], axis) if size else grid
        if size > 1 and (grid == first).all():
            grid = first
    return grid


def varying(grid: Array) -> list[int]:
    """The axes along which a shrunk grid changes."""
    return [axis for axis, size in enumerate(grid.shape) if size > 1]
