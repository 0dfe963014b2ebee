"""Conv, ConvTranspose, Gemm and MatMul: where channels begin and where they end."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.passes.channels.analysis import Analysis, varying
from onnxcomp.passes.channels.ids import FIXED, Array


def conv(analysis: Analysis, node: gs.Node) -> None:
    """Weight (outputs, inputs / group, ...)."""
    weight, channels = _weight_and_channels(analysis, node)
    if weight is None:
        return
    group = int(node.attrs.get("group", 1))
    outputs, inputs = weight.shape[:2]
    if group == 1:
        made = analysis.source(weight, 0, outputs, node)
        analysis.bind(weight, 1, channels, node)
    elif inputs == 1:  # depthwise: each input makes its own outputs
        made = np.repeat(channels, outputs // group)
    else:
        channels = _alike_in_groups(analysis, channels, group, node)
        made = _made_alike(analysis, weight, 0, outputs, group, node)
        analysis.bind(weight, 1, channels, node)
    analysis.bind(weight, 0, made, node)
    _finish(analysis, node, made)


def conv_transpose(analysis: Analysis, node: gs.Node) -> None:
    """Weight (inputs, outputs / group, ...)."""
    weight, channels = _weight_and_channels(analysis, node)
    if weight is None:
        return
    group = int(node.attrs.get("group", 1))
    inputs, outputs = weight.shape[:2]
    if group == 1:
        made = analysis.source(weight, 1, outputs, node)
        analysis.bind(weight, 1, made, node)
    elif inputs == group:
        made = np.repeat(channels, outputs)
    else:
        _alike_in_groups(analysis, channels, group, node)
        part = analysis.source(weight, 1, outputs, node)
        made = np.tile(part, group)
        analysis.bind(weight, 1, part, node)
    analysis.bind(weight, 0, channels, node)
    _finish(analysis, node, made)


def _weight_and_channels(analysis: Analysis, node: gs.Node) -> tuple[gs.Tensor | None, Array]:
    if graphs.constant_behind(node.inputs[1]) is None:
        for tensor in node.inputs:
            analysis.keep(tensor, f"{node.op} {node.name} has a computed weight")
        return None, np.zeros(0, np.int64)
    return node.inputs[1], analysis.channels(node.inputs[0], 1, node)


def _alike_in_groups(analysis: Analysis, channels: Array, group: int, node: gs.Node) -> Array:
    """Groups stay equally wide: the same position of each can only go together. Those of the first."""
    parts = channels.reshape(group, -1)
    analysis.ids.join(parts, parts[:1], f"{node.op} {node.name} reads them in groups")
    first: Array = parts[0]
    return first


def _made_alike(
    analysis: Analysis, weight: gs.Tensor, axis: int, count: int, group: int, node: gs.Node
) -> Array:
    made = analysis.source(weight, axis, count, node).reshape(group, -1)
    analysis.ids.join(made, made[:1], "")
    return made.reshape(-1)


def _finish(analysis: Analysis, node: gs.Node, made: Array) -> None:
    if len(node.inputs) > 2:
        vector(analysis, node, 2, made)
    rank = len(node.inputs[1].shape)
    analysis.write(node.outputs[0], made.reshape(1, -1, *[1] * (rank - 2)))


def vector(analysis: Analysis, node: gs.Node, index: int, channels: Array) -> None:
    """Bind an input of shape (C,), a bias or a scale; a computed one keeps the channels."""
    tensor = node.inputs[index]
    if tensor.is_empty():
        return
    if graphs.constant_behind(tensor) is None:
        for numbers in (channels, analysis.grid(tensor)):
            analysis.ids.keep(numbers, f"input {index} of {node.op} {node.name} is computed")
    else:
        analysis.bind(tensor, len(tensor.shape) - 1, channels, node)


def gemm(analysis: Analysis, node: gs.Node) -> None:
    """``A B + C`` with a constant B."""
    left, right = node.inputs[:2]
    if graphs.constant_behind(right) is None or node.attrs.get("transA", 0):
        for tensor in node.inputs:
            analysis.keep(tensor, f"Gemm {node.name} has a computed weight or a transposed input")
        return
    inputs, outputs = (1, 0) if node.attrs.get("transB", 0) else (0, 1)
    made = analysis.source(right, outputs, right.shape[outputs], node)
    analysis.bind(right, inputs, analysis.channels(left, 1, node), node)
    analysis.bind(right, outputs, made, node)
    if len(node.inputs) > 2 and node.inputs[2].shape and node.inputs[2].shape[-1] == len(made):
        vector(analysis, node, 2, made)
    elif len(node.inputs) > 2:
        analysis.keep(node.inputs[2], f"Gemm {node.name} adds it")
    analysis.write(node.outputs[0], made.reshape(1, -1))


def matmul(analysis: Analysis, node: gs.Node) -> None:
    """With one constant matrix a layer; with none, as in attention, a product of two activations."""
    left, right = node.inputs
    if graphs.constant_behind(right) is not None and len(right.shape) == 2:
        _matrix(analysis, node, right, left, summed=-1)
    elif graphs.constant_behind(left) is not None and len(left.shape) == 2:
        _matrix(analysis, node, left, right, summed=-2)
    else:
        _product(analysis, node)


def _matrix(analysis: Analysis, node: gs.Node, weight: gs.Tensor, data: gs.Tensor, *, summed: int) -> None:
    """``summed`` is the axis of ``data`` that is summed over: -1 where the weight is on the right."""
    inputs, outputs = (0, 1) if summed == -1 else (1, 0)
    made = analysis.source(weight, outputs, weight.shape[outputs], node)
    analysis.bind(weight, inputs, analysis.channels(data, summed, node), node)
    analysis.bind(weight, outputs, made, node)
    shape = [1] * analysis.grid(node.outputs[0]).ndim
    if not shape:
        analysis.ids.keep(made, f"MatMul {node.name} has an output of unknown shape")
        return
    shape[summed] = -1
    analysis.write(node.outputs[0], made.reshape(shape))


def _product(analysis: Analysis, node: gs.Node) -> None:
    """Batches (attention heads) go as a whole; channels that are summed over are kept.

    No weight reads those, so nothing would tell what one is worth, or that it is of no use any more; and its
    products are not 0 where biases make it.
    """
    dims = [analysis.dims(tensor) for tensor in node.inputs]
    if any(d is None or len(d) != len(dims[0] or ()) or len(d) < 2 for d in dims):
        for tensor in node.inputs:
            analysis.keep(tensor, f"MatMul {node.name} has operands of unknown or different rank")
        return
    rank = len(dims[0] or ())
    grids = [analysis.grid(tensor) for tensor in node.inputs]
    if any(axis < rank - 2 for grid in grids for axis in varying(grid)):
        analysis.write(node.outputs[0], _batches(analysis, node, grids, dims))
        return
    if any(len(varying(grid)) != 1 and (grid != FIXED).any() for grid in grids):
        for tensor in node.inputs:
            analysis.keep(tensor, f"MatMul {node.name} has channels along several axes, or one alone")
        return
    nothing = np.full((1,) * rank, FIXED, np.int64)
    rows, inner = (grids[0] if axis in varying(grids[0]) else nothing for axis in (rank - 2, rank - 1))
    outer, columns = (grids[1] if axis in varying(grids[1]) else nothing for axis in (rank - 2, rank - 1))
    for grid in (inner, outer):
        analysis.ids.keep(grid, f"MatMul {node.name} sums over products of them")
    if rows.size > 1 and columns.size > 1:
        for tensor in node.inputs:
            analysis.keep(tensor, f"MatMul {node.name} makes a table of them")
    elif rows.size > 1 or columns.size > 1:
        analysis.write(node.outputs[0], rows if rows.size > 1 else columns)


def _batches(
    analysis: Analysis, node: gs.Node, grids: list[Array], dims: list[tuple[int, ...] | None]
) -> Array:
    """The grid of the output, one channel set a batch; each set takes all of its operands' channels."""
    reason = f"MatMul {node.name} multiplies them with a fixed operand"
    firsts = []
    for grid in grids:
        first = grid[..., :1, :1]
        analysis.ids.join(grid, first, reason)
        firsts.append(first)
    for axis in range(firsts[0].ndim - 2):
        sizes = {d[axis] for d in dims if d is not None}
        if len(sizes) > 1:  # one operand serves all batches
            for grid in grids:
                analysis.ids.keep(grid, f"MatMul {node.name} shares an operand among heads")
    analysis.ids.join(firsts[0], firsts[1], reason)
    return np.broadcast_arrays(*firsts)[0]
