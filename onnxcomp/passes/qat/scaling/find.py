"""Follow every channel and find what would have to be scaled with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.passes.channels.ids import FIXED, Array
from onnxcomp.passes.qat.scaling.rules import RULES
from onnxcomp.passes.qat.scaling.walk import Norm, Reader, Walk, Weighed

__all__ = ["Norm", "Reader", "Scaling", "Weighed", "find"]


@dataclass(frozen=True, eq=False)
class Scaling:
    """Channels by number; those with one number are scaled alike.

    Attributes:
        weighed, norms, readers: in graph order; :data:`FIXED` (-1) stands for channels that stay.
        grids: for each tensor the channel of each position, of its rank, with sizes of 1 along axes that all
            positions share.
        size: one more than the largest number.
    """

    weighed: tuple[Weighed, ...]
    norms: tuple[Norm, ...]
    readers: tuple[Reader, ...]
    grids: Mapping[str, Array]
    size: int


def find(graph: gs.Graph) -> Scaling:
    """Which channels of the student a positive factor may scale.

    Args:
        graph: sorted, without Q/DQ; masks may stand before weights. Tensors need shapes, as after
            :func:`onnxcomp.model.load`.
    """
    walk = Walk(graph)
    for node in graph.nodes:
        if not graphs.is_student(node):
            walk.refuse(node, f"{node.name} compares them with the teacher's")
        elif not _on_constants(node):
            RULES.get(node.op, Walk.refuse)(walk, node)
    for tensor in graph.outputs:
        walk.keep(tensor, f"{tensor.name} is an output of the network")
    return _numbered(walk)


def _on_constants(node: gs.Node) -> bool:
    return all(graphs.constant_behind(tensor) is not None or tensor.is_empty() for tensor in node.inputs)


def _numbered(walk: Walk) -> Scaling:
    """The walk's findings with one number for all that are scaled alike."""

    def final(numbers: Array) -> Array:
        rooted = walk.ids.roots(numbers)
        unique, inverse = np.unique(rooted, return_inverse=True)
        kept = [n == FIXED or bool(walk.ids.reason(int(n))) for n in unique]
        return np.where(kept, FIXED, unique)[inverse].reshape(rooted.shape)

    weighed = {id(one): Weighed(one.constant, final(one.table), one.inverse) for one in walk.weighed}
    readers = [
        Reader(one.tensor, np.unique(final(one.channels)), weighed[id(one.weight)] if one.weight else None)
        for one in walk.readers
    ]
    grids = {name: final(grid) for name, grid in walk.grids.items()}
    return Scaling(
        tuple(one for one in weighed.values() if (one.table != FIXED).any()),
        tuple(Norm(norm.node, final(norm.reads), final(norm.makes)) for norm in walk.norms),
        tuple(one for one in readers if (one.channels != FIXED).any()),
        {name: grid for name, grid in grids.items() if (grid != FIXED).any()},
        1 + max((int(grid.max()) for grid in grids.values()), default=-1),
    )
