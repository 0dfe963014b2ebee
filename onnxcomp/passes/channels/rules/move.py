"""Operators that move, repeat or leave out elements: what they do to a tensor is done to its grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.passes.channels.analysis import Analysis, Source, varying
from onnxcomp.passes.channels.ids import FIXED, Array


def integers(node: gs.Node, index: int, attribute: str = "") -> list[int] | None:
    """A list given as an attribute or as a constant input; None where it is absent or computed."""
    if attribute and attribute in node.attrs:
        return [int(value) for value in np.atleast_1d(node.attrs[attribute])]
    if index < len(node.inputs) and isinstance(node.inputs[index], gs.Constant):
        return [int(value) for value in node.inputs[index].values.reshape(-1)]
    return None


def whole(analysis: Analysis, tensor: gs.Tensor, axes: Sequence[int]) -> Array:
    """The tensor's grid with its full size along ``axes``."""
    grid = analysis.grid(tensor)
    dims = analysis.dims(tensor)
    assert dims is not None
    shape = [dims[a] if a in axes else grid.shape[a] for a in range(grid.ndim)]
    return np.broadcast_to(grid, shape)


def known(analysis: Analysis, node: gs.Node) -> bool:
    """Whether the shape of the first input is known; if not, its channels are kept."""
    if analysis.dims(node.inputs[0]) is not None:
        return True
    return refuse(analysis, node)


def refuse(analysis: Analysis, node: gs.Node, reason: str = "") -> bool:
    """Keep the channels of all inputs."""
    for tensor in node.inputs:
        analysis.keep(tensor, reason or f"{node.op} {node.name} is not understood")
    return False


def concat(analysis: Analysis, node: gs.Node) -> None:
    """Along its axis one after the other; along others the inputs go together."""
    data = [tensor for tensor in node.inputs if graphs.constant_behind(tensor) is None]
    if any(analysis.dims(tensor) is None for tensor in data):
        refuse(analysis, node, f"Concat {node.name} joins tensors of unknown shape")
        return
    axis = int(node.attrs["axis"]) % analysis.grid(data[0]).ndim
    sides = [analysis.grid(tensor).take([0], axis) for tensor in data]
    side = next((grid for grid in sides if varying(grid)), None)
    parts = []
    for tensor in node.inputs:
        constant = graphs.constant_behind(tensor) is not None
        if constant and side is not None:
            _beside(analysis, node, tensor, side)
            part = np.repeat(side, tensor.shape[axis], axis)
        elif constant:
            part = np.full([n if a == axis else 1 for a, n in enumerate(tensor.shape)], FIXED, np.int64)
        else:
            part = whole(analysis, tensor, [axis])
            if side is not None:
                analysis.ids.join(part, side, f"Concat {node.name} puts them beside fixed ones")
                part = np.broadcast_to(side, np.broadcast_shapes(part.shape, side.shape))
        parts.append(part)
    analysis.write(node.outputs[0], np.concatenate(parts, axis))


def _beside(analysis: Analysis, node: gs.Node, constant: gs.Tensor, side: Array) -> None:
    if len(varying(side)) > 1:
        analysis.ids.keep(side, f"Concat {node.name} puts them beside a constant")
        return
    (axis,) = varying(side)
    analysis.bind(constant, axis, side.reshape(-1), node)


def split(analysis: Analysis, node: gs.Node) -> None:
    """Parts of the given sizes, or equal ones."""
    if not known(analysis, node):
        return
    rank = analysis.grid(node.inputs[0]).ndim
    axis = int(node.attrs.get("axis", 0)) % rank
    grid = whole(analysis, node.inputs[0], [axis])
    sizes = integers(node, 1)
    if sizes is None and len(node.inputs) > 1 and not node.inputs[1].is_empty():
        refuse(analysis, node)
        return
    for output, piece in zip(node.outputs, np.split(grid, ends(node, grid.shape[axis]), axis), strict=True):
        analysis.write(output, piece)


def ends(node: gs.Node, size: int) -> Array:
    """Where the parts of a Split of ``size`` positions end, but for the last."""
    sizes = integers(node, 1)
    if sizes:
        return np.cumsum(sizes)[:-1]
    return np.arange(1, len(node.outputs)) * -(-size // len(node.outputs))


def slices(node: gs.Node, rank: int) -> dict[int, slice] | None:
    """What a Slice takes, by axis; None where it is computed."""
    starts, ends = integers(node, 1), integers(node, 2)
    if starts is None or ends is None:
        return None
    axes = integers(node, 3) or list(range(len(starts)))
    steps = integers(node, 4) or [1] * len(starts)
    absent = [i for i in (3, 4) if i < len(node.inputs) and not node.inputs[i].is_empty()]
    if any(integers(node, i) is None for i in absent):
        return None
    found = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # Backwards, an end before the first element is written as a very small number.
        found[axis % rank] = slice(start, None if step < 0 and end < -(2**30) else end, step)
    return found


def cut_out(analysis: Analysis, node: gs.Node) -> None:
    """Slice."""
    if not known(analysis, node):
        return
    grid = analysis.grid(node.inputs[0])
    taken = slices(node, grid.ndim)
    if taken is None:
        refuse(analysis, node)
        return
    grid = whole(analysis, node.inputs[0], [axis for axis in taken if axis in varying(grid)])
    index = tuple(taken[a] if a in taken and grid.shape[a] > 1 else slice(None) for a in range(grid.ndim))
    analysis.write(node.outputs[0], grid[index])


def gather(analysis: Analysis, node: gs.Node) -> None:
    """Constant indices along one axis."""
    tensor, indices = node.inputs
    grid = analysis.grid(tensor)
    if isinstance(tensor, gs.Constant) or not known(analysis, node):
        return
    axis = int(node.attrs.get("axis", 0)) % grid.ndim
    if not isinstance(indices, gs.Constant):
        if axis in varying(grid):
            refuse(analysis, node, f"Gather {node.name} takes computed positions")
        elif indices.shape is not None:
            extra = (1,) * len(indices.shape)
            analysis.write(node.outputs[0], grid.reshape(grid.shape[:axis] + extra + grid.shape[axis + 1 :]))
        return
    if indices.values.ndim > 1 and axis in varying(grid):
        refuse(analysis, node, f"Gather {node.name} lays them out in a table")
        return
    analysis.write(node.outputs[0], np.take(whole(analysis, tensor, [axis]), indices.values, axis))


def reshape(analysis: Analysis, node: gs.Node) -> None:
    """Reshape, Flatten, Squeeze and Unsqueeze, with a batch of 1 where it is free."""
    source, output = node.inputs[0], node.outputs[0]
    if isinstance(source, gs.Constant) or source.name not in analysis.grids:
        return
    before, after = analysis.dims(source), analysis.dims(output)
    if before is None or after is None or np.prod(before) != np.prod(after):
        refuse(analysis, node, f"{node.op} {node.name} has an unknown shape")
        return
    grid = np.broadcast_to(analysis.grid(source), before)
    analysis.write(output, grid.reshape(after))


def transpose(analysis: Analysis, node: gs.Node) -> None:
    """Axes in another order."""
    grid = analysis.grid(node.inputs[0])
    analysis.write(node.outputs[0], grid.transpose(node.attrs.get("perm")))


def expand(analysis: Analysis, node: gs.Node) -> None:
    """Broadcasting to a given shape."""
    source, output = node.inputs[0], node.outputs[0]
    if isinstance(source, gs.Constant) or source.name not in analysis.grids:
        return
    grid, rank = analysis.grid(source), analysis.grid(output).ndim
    if rank < grid.ndim:
        refuse(analysis, node)
        return
    analysis.write(output, grid.reshape((1,) * (rank - grid.ndim) + grid.shape))


def pad(analysis: Analysis, node: gs.Node) -> None:
    """Padding along channels, as of a ResNet's shortcut, makes channels of its own."""
    source = node.inputs[0]
    grid, pads = analysis.grid(source), integers(node, 1)
    axes = integers(node, 3) or list(range(grid.ndim))
    if not known(analysis, node):
        return
    if pads is None:
        refuse(analysis, node)
        return
    amounts = {a % grid.ndim: (pads[i], pads[i + len(axes)]) for i, a in enumerate(axes)}
    for axis, (begin, end) in amounts.items():
        alone = axis == 1 and grid.size == 1 and (grid != FIXED).all()  # one channel is one of several now
        if (axis not in varying(grid) and not alone) or (begin == 0 and end == 0):
            continue
        if begin < 0 or end < 0 or node.attrs.get("mode", "constant") != "constant" or len(varying(grid)) > 1:
            refuse(analysis, node)
            return
        sizes = analysis.dims(source)
        if grid.shape[axis] == 1 and sizes is not None:  # one number for all positions
            grid = np.repeat(grid, sizes[axis], axis)
        made = [analysis.ids.fresh(count) for count in (begin, end)]
        analysis.sources += [Source(node.name, ids) for ids in made if ids.size]
        shape = [-1 if a == axis else 1 for a in range(grid.ndim)]
        grid = np.concatenate([made[0].reshape(shape), grid, made[1].reshape(shape)], axis)
    analysis.write(node.outputs[0], grid)


def resize(analysis: Analysis, node: gs.Node) -> None:
    """Resize and Upsample of positions; along channels nothing may change."""
    source, output = node.inputs[0], node.outputs[0]
    grid = analysis.grid(source)
    before, after = analysis.dims(source), analysis.dims(output)
    changed = before is None or after is None or any(before[a] != after[a] for a in varying(grid))
    if changed or any(axis > 1 for axis in varying(grid)):
        refuse(analysis, node, f"{node.op} {node.name} mixes them")
        return
    if len(node.inputs) > 3 and not node.inputs[3].is_empty() and integers(node, 3) is None:
        refuse(analysis, node, f"{node.op} {node.name} computes how many there are")
        return
    analysis.write(output, grid)


def shape_of(analysis: Analysis, node: gs.Node) -> None:
    """Shape: harmless where only sizes of other axes are read from it."""
    grid = analysis.grid(node.inputs[0])
    read = varying(grid)
    for reader in node.outputs[0].outputs:
        positions = integers(reader, 1) if reader.op == "Gather" else None
        if positions is None or any(p % grid.ndim in read for p in positions):
            analysis.keep(node.inputs[0], f"{reader.op} {reader.name} reads how many there are")
