"""Operators that treat each element for itself: channels pass, and operands go together."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.passes.channels.analysis import Analysis, varying
from onnxcomp.passes.channels.ids import Array

UNARY = (
    *("Abs", "Cast", "Ceil", "Celu", "Clip", "Cos", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu"),
    *("HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal"),
    *("Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Tanh"),
    *("ThresholdedRelu",),
)
NARY = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "PRelu", "Where", "Mod"),
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor"),
)


def unary(analysis: Analysis, node: gs.Node) -> None:
    """Only the first input carries channels."""
    analysis.write(node.outputs[0], analysis.grid(node.inputs[0]))


def nary(analysis: Analysis, node: gs.Node) -> None:
    """Operands of the output's size go together; constants are cut along; smaller ones stay."""
    dims = analysis.dims(node.outputs[0])
    data = [tensor for tensor in node.inputs if graphs.constant_behind(tensor) is None]
    if dims is None or any(analysis.dims(tensor) is None for tensor in data):
        for tensor in data:
            analysis.keep(tensor, f"{node.op} {node.name} has a tensor of unknown shape")
        return
    found = _merged(analysis, node, data, dims)
    for tensor in node.inputs:
        if graphs.constant_behind(tensor) is not None:
            along(analysis, node, tensor, found)
    analysis.write(node.outputs[0], found)


def _merged(analysis: Analysis, node: gs.Node, data: list[gs.Tensor], dims: tuple[int, ...]) -> Array:
    """The output's grid."""
    rank = len(dims)
    grids = []
    for tensor in data:
        own = analysis.dims(tensor) or ()
        grid = analysis.grid(tensor).reshape((1,) * (rank - len(own)) + analysis.grid(tensor).shape)
        grids.append(((1,) * (rank - len(own)) + own, grid))
    shape = np.broadcast_shapes((1,) * rank, *(grid.shape for _, grid in grids))
    axes = [axis for axis, size in enumerate(shape) if size > 1]
    # An operand of size 1 where others have channels is read by all of them.
    full = [grid for own, grid in grids if all(own[axis] == dims[axis] for axis in axes)]
    for own, grid in grids:
        missing = [axis for axis in axes if own[axis] != dims[axis]]
        if missing and varying(grid):
            whole = np.broadcast_to(grid, shape)
            for other in full:
                analysis.ids.join(whole, other, f"{node.op} {node.name} combines them with fixed ones")
        elif missing:
            analysis.ids.keep(grid, f"{node.op} {node.name} spreads it over all channels")
    merged = np.broadcast_to(full[0], shape) if full else np.full(shape, -1, np.int64)
    if not full:
        for _, grid in grids:
            analysis.ids.keep(grid, f"{node.op} {node.name} combines channels of several axes")
    for grid in full[1:]:
        analysis.ids.join(merged, grid, f"{node.op} {node.name} combines them with fixed ones")
        merged = np.maximum(merged, np.broadcast_to(grid, shape))
    return merged


def along(analysis: Analysis, node: gs.Node, constant: gs.Tensor, grid: Array) -> None:
    """Bind a broadcast constant along each axis of ``grid`` that it has."""
    for axis in varying(grid):
        own = axis - grid.ndim + len(constant.shape)
        if own >= 0 and constant.shape[own] > 1:
            if len(varying(grid)) > 1:
                analysis.ids.keep(grid, f"{node.op} {node.name} combines them with a table")
                return
            analysis.bind(constant, own, grid.reshape(-1), node)


def quantize(analysis: Analysis, node: gs.Node) -> None:
    """Q and DQ: one scale, or one for each position along an axis."""
    grid = analysis.grid(node.inputs[0])
    scale = node.inputs[1]
    if scale.shape and np.prod(scale.shape) > 1:
        axis = int(node.attrs.get("axis", 1)) % grid.ndim
        channels = analysis.channels(node.inputs[0], axis, node)
        for tensor in node.inputs[1:]:
            if isinstance(tensor, gs.Constant) and len(tensor.shape) == 1:
                analysis.bind(tensor, 0, channels, node)
    analysis.write(node.outputs[0], grid)
