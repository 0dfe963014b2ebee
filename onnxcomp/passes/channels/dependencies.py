"""Which channels of a network can go, and what goes with each.

The idea of dependency groups is that of Fang et al. 2023 (DepGraph, arXiv 2301.12900); here single
channels are followed, not layers, so Concat, Split, Slice and Reshape need no case of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.passes.channels.analysis import Analysis, Source, shrunk, varying
from onnxcomp.passes.channels.ids import FIXED, Array
from onnxcomp.passes.channels.rules import RULES
from onnxcomp.shapes import Shape


@dataclass(frozen=True, eq=False)
class Group:
    """Layers whose widths hang together.

    Attributes:
        name: the weight that makes its channels, the first in graph order.
        members: every weight, or padding, that makes some of them.
        ids: those that can go, each with all that shares its number.
        reason: why the others, if any, are kept.
    """

    name: str
    members: tuple[str, ...]
    ids: Array
    reason: str


@dataclass(frozen=True, eq=False)
class Dependencies:
    """The channels of a graph, by number.

    Attributes:
        constants: by name and axis, the number of each position; :data:`FIXED` (-1) is no channel.
        grids: the same for each tensor that holds channels, of its rank, with size 1 along axes that
            all positions share.
        sources: where channels begin; their widths are what alignment is about.
        groups: in graph order.
        shapes: of all tensors, by name; None where the size follows the batch.
        size: one more than the largest number.
    """

    constants: dict[str, dict[int, Array]]
    grids: dict[str, Array]
    sources: tuple[Source, ...]
    groups: tuple[Group, ...]
    shapes: Mapping[str, Shape]
    size: int

    def kept(self, gone: Collection[int]) -> np.ndarray:
        """For each number, and in its last place for :data:`FIXED`, whether it stays. Shape (size + 1,)."""
        keep = np.ones(self.size + 1, np.bool_)
        keep[np.fromiter(gone, np.int64)] = False
        keep[FIXED] = True
        return keep

    def spans(self) -> list[Array]:
        """The numbers along each axis of each tensor, once: none of them may lose all its positions."""
        axes = [numbers for table in self.constants.values() for numbers in table.values()]
        axes += [grid.reshape(-1) for grid in self.grids.values()]
        unique = {numbers.tobytes(): numbers for numbers in axes}
        return [numbers for numbers in unique.values() if numbers.size and (numbers != FIXED).all()]


def find(graph: gs.Graph) -> Dependencies:
    """Follow every channel of the student. Tensors need shapes, as after :func:`onnxcomp.model.load`."""
    analysis = Analysis(graph)
    for node in graph.nodes:
        carries = node.op in graphs.WEIGHTED_OPS or any(t.name in analysis.grids for t in node.inputs)
        if carries and graphs.is_student(node) and not _on_constants(node):
            RULES.get(node.op, _unknown)(analysis, node)
    _keep_what_others_read(analysis)
    _one_axis_each(analysis)
    ids = analysis.ids
    constants = {
        name: {axis: ids.roots(numbers) for axis, numbers in axes.items()}
        for name, axes in analysis.constants.items()
    }
    sources = tuple(Source(source.name, ids.roots(source.ids)) for source in analysis.sources)
    grids = {name: shrunk(ids.roots(grid)) for name, grid in analysis.grids.items()}
    size = int(max((source.ids.max(initial=0) for source in analysis.sources), default=-1)) + 1
    groups = tuple(_groups(sources, analysis))
    return Dependencies(constants, grids, sources, groups, analysis.shapes.fixed, size)


def _on_constants(node: gs.Node) -> bool:
    """Part of a weight's mask and Q/DQ, or of nothing that an image passes through."""
    return all(graphs.constant_behind(t) is not None or t.is_empty() for t in node.inputs)


def _unknown(analysis: Analysis, node: gs.Node) -> None:
    for tensor in node.inputs:
        analysis.keep(tensor, f"nothing is known of {node.op} {node.name}")


def _keep_what_others_read(analysis: Analysis) -> None:
    graph = analysis.graph
    for tensor in graph.outputs:
        analysis.keep(tensor, f"{tensor.name} is an output of the network")
    for node in graph.nodes:
        if not graphs.is_student(node):
            for tensor in node.inputs:
                analysis.keep(tensor, f"{node.name} compares them with the teacher's")
    tensors = graph.tensors()
    for name, axes in analysis.constants.items():
        for node in analysis.foreign_readers(tensors[name]):
            for numbers in axes.values():
                analysis.ids.keep(numbers, f"{node.op} {node.name} reads {name} too")


def _one_axis_each(analysis: Analysis) -> None:
    """A tensor stays a box: what lies along several of its axes goes by the longest, or not at all."""
    ids, changed = analysis.ids, True
    while changed:
        changed = False
        for name, grid in analysis.grids.items():
            rooted = shrunk(ids.free_roots(grid))  # kept ones differ, and stay where they are
            axes = varying(rooted)
            if len(axes) < 2:
                continue
            longest = max(axes, key=lambda axis: rooted.shape[axis])
            one = rooted
            for axis in axes:
                if axis != longest:
                    one = one.take([0], axis)
            ids.join(rooted, one, f"{name} holds them along several axes")
            changed = True


def _groups(sources: Iterable[Source], analysis: Analysis) -> Iterable[Group]:
    """Sources that share a number belong together."""
    group_of: dict[int, list[Source]] = {}
    for source in sources:
        members = [source]
        for number in np.unique(source.ids):
            other = group_of.get(int(number))
            if other is not None and not any(other[0] is member for member in members):
                members = [*other, *(m for m in members if not any(m is o for o in other))]
        for member in members:
            for number in np.unique(member.ids):
                group_of[int(number)] = members
    seen: set[int] = set()
    for source in sources:
        members = group_of[int(source.ids[0])]
        if id(members) in seen:
            continue
        seen.add(id(members))
        numbers = np.unique(np.concatenate([member.ids for member in members]))
        reasons = [analysis.ids.reason(int(number)) for number in numbers]
        free = [number for number, reason in zip(numbers, reasons, strict=True) if not reason]
        names = tuple(dict.fromkeys(member.name for member in members))
        yield Group(names[0], names, np.array(free, np.int64), next(filter(None, reasons), ""))
