"""What a node says about channels in attributes and constant inputs, written anew for those that stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.passes.channels.analysis import varying
from onnxcomp.passes.channels.dependencies import Dependencies
from onnxcomp.passes.channels.ids import Array
from onnxcomp.passes.channels.rules.move import ends, integers, slices


@dataclass(frozen=True, eq=False)
class Edit:
    """One cut, as the nodes see it; shapes and constants are still the old ones.

    Attributes:
        keep: for each number whether it stays.
    """

    graph: gs.Graph
    dependencies: Dependencies
    keep: np.ndarray
    taken: set[str]

    def kept(self, tensor: gs.Tensor) -> tuple[int, np.ndarray] | None:
        """(axis, which of its positions stay), or None where the tensor keeps its shape."""
        grid = self.dependencies.grids.get(tensor.name)
        if grid is None or self.keep[grid].all():
            return None
        (axis,) = varying(grid)
        return axis, self.keep[grid.reshape(-1)]

    def rank(self, tensor: gs.Tensor) -> int:
        """Number of axes."""
        return len(self.dependencies.shapes[tensor.name])

    def constant(self, node: gs.Node, what: str, values: list[int] | Array | int) -> gs.Constant:
        """A new int64 constant for ``node`` alone."""
        return gs.Constant(graphs.free_name(f"{node.name}.{what}", self.taken), np.array(values, np.int64))


def conv(edit: Edit, node: gs.Node) -> None:
    """A depthwise convolution has as many groups as inputs."""
    found = edit.kept(node.inputs[0])
    weight = node.inputs[1].shape
    per_group = weight[1] if node.op == "Conv" else weight[0] // int(node.attrs.get("group", 1))
    if found and int(node.attrs.get("group", 1)) > 1 and per_group == 1:
        node.attrs["group"] = int(found[1].sum())


def split(edit: Edit, node: gs.Node) -> None:
    """The parts' sizes."""
    found = edit.kept(node.inputs[0])
    if found is None or found[0] != int(node.attrs.get("axis", 0)) % edit.rank(node.inputs[0]):
        return
    sizes = [int(part.sum()) for part in np.split(found[1], ends(node, len(found[1])))]
    node.attrs.pop("num_outputs", None)
    node.inputs = [node.inputs[0], edit.constant(node, "split", sizes)]


def cut_out(edit: Edit, node: gs.Node) -> None:
    """The ends of a slice, or, where its step no longer fits, the positions in a Gather."""
    found = edit.kept(node.inputs[0])
    sliced = slices(node, edit.rank(node.inputs[0])) if found else None
    if found is None or sliced is None or found[0] not in sliced:
        return
    axis, stays = found
    positions = renumbered(np.arange(len(stays))[sliced.pop(axis)], stays)
    if (np.diff(positions) == 1).all():
        sliced[axis] = slice(int(positions[0]), int(positions[-1]) + 1, 1)
    elif sliced:
        _gather_behind(edit, node, axis, positions)
    else:
        node.op, node.attrs = "Gather", {"axis": axis}
        node.inputs = [node.inputs[0], edit.constant(node, "indices", positions)]
        return
    order = sorted(sliced)
    stops = [-(2**63) if sliced[a].stop is None else sliced[a].stop for a in order]
    lists = {"starts": [sliced[a].start for a in order], "ends": stops, "axes": order}
    lists["steps"] = [sliced[a].step for a in order]
    constants = [edit.constant(node, what, values) for what, values in lists.items()]
    node.inputs = [node.inputs[0], *constants]


def _gather_behind(edit: Edit, node: gs.Node, axis: int, positions: Array) -> None:
    output = node.outputs[0]
    name = graphs.free_name(f"{output.name}.sliced", edit.taken)
    between = gs.Variable(name, output.dtype, None)
    indices = edit.constant(node, "indices", positions)
    title = graphs.free_name(f"{node.name}.gather", {other.name for other in edit.graph.nodes})
    node.outputs[0] = between
    edit.graph.nodes.append(gs.Node("Gather", title, {"axis": axis}, [between, indices], [output]))


def renumbered(positions: Array, stays: np.ndarray) -> Array:
    """Where those of ``positions`` that stay are found after the cut."""
    new = np.cumsum(stays) - 1
    kept: Array = new[positions[stays[positions]]]
    return kept


def gather(edit: Edit, node: gs.Node) -> None:
    """Indices."""
    found = edit.kept(node.inputs[0])
    if found is None or found[0] != int(node.attrs.get("axis", 0)) % edit.rank(node.inputs[0]):
        return
    indices = node.inputs[1].values
    positions = renumbered(np.atleast_1d(indices) % len(found[1]), found[1])
    node.inputs[1] = edit.constant(node, "indices", positions if indices.ndim else int(positions[0]))


def reshape(edit: Edit, node: gs.Node) -> None:
    """The target shape; what is -1 or copied stays so where that still says the same."""
    before, after = edit.kept(node.inputs[0]), edit.kept(node.outputs[0])
    if node.op != "Reshape" or (after is None and before is None):
        return
    shape = [-1 if size is None else size for size in edit.dependencies.shapes[node.outputs[0].name]]
    written = integers(node, 1)
    if written is None:
        written = shape
    for axis, size in enumerate(written):
        if after is not None and axis == after[0] and size != -1:
            written[axis] = int(after[1].sum())
        elif size == 0 and before is not None and axis == before[0]:
            written[axis] = shape[axis]
    node.inputs[1] = edit.constant(node, "shape", written)


def expand(edit: Edit, node: gs.Node) -> None:
    """The target shape; 1 stands for any size."""
    after, shape = edit.kept(node.outputs[0]), integers(node, 1)
    if after is None or shape is None:
        return
    own = after[0] - edit.rank(node.outputs[0]) + len(shape)
    if own >= 0 and shape[own] != 1:
        shape[own] = int(after[1].sum())
        node.inputs[1] = edit.constant(node, "shape", shape)


def pad(edit: Edit, node: gs.Node) -> None:
    """How many channels are added at either end."""
    after, pads = edit.kept(node.outputs[0]), integers(node, 1)
    if after is None or pads is None:
        return
    rank = edit.rank(node.inputs[0])
    axes = [axis % rank for axis in integers(node, 3) or range(rank)]
    if after[0] not in axes:
        return
    first = axes.index(after[0])
    last = first + len(axes)
    begin, end = pads[first], pads[last]
    pads[first] = int(after[1][:begin].sum())
    pads[last] = int(after[1][len(after[1]) - end :].sum())
    node.inputs[1] = edit.constant(node, "pads", pads)


def resize(edit: Edit, node: gs.Node) -> None:
    """The target sizes, where they are given."""
    after, sizes = edit.kept(node.outputs[0]), integers(node, 3)
    if after is None or not sizes:
        return
    rank = edit.rank(node.outputs[0])
    axes = [int(axis) % rank for axis in node.attrs.get("axes", range(rank))]
    if after[0] in axes:
        sizes[axes.index(after[0])] = int(after[1].sum())
        node.inputs[3] = edit.constant(node, "sizes", sizes)


EDITS: Mapping[str, Callable[[Edit, gs.Node], None]] = {
    "Conv": conv,
    "ConvTranspose": conv,
    "Split": split,
    "Slice": cut_out,
    "Gather": gather,
    "Reshape": reshape,
    "Expand": expand,
    "Pad": pad,
    "Resize": resize,
}
