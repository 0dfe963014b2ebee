"""What each operator does with scaled channels: operator type to rule. One that is not here keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.passes.channels.analysis import varying
from onnxcomp.passes.channels.ids import FIXED, Array
from onnxcomp.passes.channels.rules import elementwise, move, reduce
from onnxcomp.passes.qat.placement.walk import is_standalone
from onnxcomp.passes.qat.scaling.layers import conv, conv_transpose, gemm, matmul
from onnxcomp.passes.qat.scaling.walk import Norm, Walk, absent, is_free, is_zero, own, size, vector

Rule = Callable[[Walk, gs.Node], None]

HOMOGENEOUS = ("Relu", "LeakyRelu", "PRelu", "Abs", "Neg", "Identity", "Dropout")
"""f(c x) = c f(x) for c > 0."""
POOLS = ("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2")


def homogeneous(walk: Walk, node: gs.Node) -> None:
    """Each element for itself; a slope is a constant."""
    if any(graphs.constant_behind(tensor) is None for tensor in node.inputs[1:] if not tensor.is_empty()):
        walk.refuse(node)
        return
    walk.write(node.outputs[0], walk.grid(node.inputs[0]))


def clip(walk: Walk, node: gs.Node) -> None:
    """A Relu where the only bound is 0."""
    bounded = node.attrs.keys() & {"min", "max"} or not absent(node, 2)
    if bounded or (not absent(node, 1) and not is_zero(node.inputs[1])):
        walk.refuse(node)
        return
    walk.write(node.outputs[0], walk.grid(node.inputs[0]))


def norm(walk: Walk, node: gs.Node) -> None:
    """BatchNormalization takes up any factor on both sides."""
    reads = walk.channels(node.inputs[0], 1, node)
    if any(own(node, index) is None for index in range(1, 5)):
        walk.refuse(node)
        return
    if not is_standalone(node):  # it is folded, and nothing is quantised before it
        walk.keep(node.inputs[0], f"{node.name} is folded")
    makes = walk.fresh(node.outputs[0], len(reads))
    walk.norms.append(Norm(node, reads, makes))
    if is_free(reads):
        walk.read(node.inputs[0], reads, None, free=True)


def other_norm(walk: Walk, node: gs.Node) -> None:
    """LayerNormalization and InstanceNormalization: their scale and bias make channels."""
    walk.refuse(node, f"{node.op} {node.name} normalises them")
    axis = -1 if node.op == "LayerNormalization" else 1
    scale, bias = own(node, 1), own(node, 2)
    if scale is None or len(scale.shape) != 1 or (bias is None and not absent(node, 2)):
        return
    makes = walk.fresh(node.outputs[0], size(scale), axis)
    for constant in (scale, bias):
        if constant is not None:
            walk.multiply(constant, makes)


def add(walk: Walk, node: gs.Node) -> None:
    """Operands go together, constants with them."""
    constants = [tensor for tensor in node.inputs if graphs.constant_behind(tensor) is not None]
    elementwise.nary(walk, node)
    grid = walk.grid(node.outputs[0])
    for tensor in constants:
        if is_free(grid) and not is_zero(tensor) and not _scaled_along(walk, node, tensor, grid):
            walk.ids.keep(grid, f"{node.op} {node.name} combines them with a constant")


def _scaled_along(walk: Walk, node: gs.Node, tensor: gs.Tensor, grid: Array) -> bool:
    index = next(i for i, other in enumerate(node.inputs) if other is tensor)
    constant, axes = own(node, index), varying(grid)
    if constant is None or len(axes) != 1 or np.any(grid == FIXED):
        return False
    (axis,) = axes
    rank = len(constant.shape)
    if axis - grid.ndim + rank < 0 or constant.shape[axis - grid.ndim + rank] != grid.size:
        return False
    walk.multiply(constant, vector(grid.reshape(-1), axis - grid.ndim + rank, rank))
    return True


def multiply(walk: Walk, node: gs.Node) -> None:
    """Mul and Div by what has no channels of its own; a constant one makes channels where there are none."""
    held = [tensor for tensor in node.inputs if is_free(walk.ids.free_roots(walk.grid(tensor)))]
    dims = walk.dims(node.outputs[0])
    if not held and dims is not None:
        _made_by_a_constant(walk, node, dims)
        return
    if len(held) != 1 or dims is None or (node.op == "Div" and held[0] is not node.inputs[0]):
        walk.refuse(node)
        return
    grid = walk.grid(held[0])
    grid = grid.reshape((1,) * (len(dims) - grid.ndim) + grid.shape)
    if any(grid.shape[axis] != dims[axis] for axis in varying(grid)):
        walk.refuse(node)
        return
    walk.write(node.outputs[0], grid)


def _made_by_a_constant(walk: Walk, node: gs.Node, dims: tuple[int, ...]) -> None:
    """A scale per channel, as of a LayerNormalization written out; that of the image is its normalisation."""
    for index, tensor in enumerate(node.inputs):
        constant, other = own(node, index), node.inputs[1 - index]
        if node.op != "Mul" or constant is None or not other.inputs:
            continue
        axes = [axis - len(tensor.shape) for axis, count in enumerate(tensor.shape) if count > 1]
        if len(axes) == 1 and tensor.shape[axes[0]] == dims[axes[0]]:
            made = walk.fresh(node.outputs[0], dims[axes[0]], axes[0])
            walk.multiply(constant, vector(made, axes[0], len(constant.shape)))


def concat(walk: Walk, node: gs.Node) -> None:
    """One after the other; what stands beside a constant stays."""
    if any(graphs.constant_behind(tensor) is not None for tensor in node.inputs):
        walk.refuse(node)
    move.concat(walk, node)


def pad(walk: Walk, node: gs.Node) -> None:
    """With zeros, or with what is there."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is not None and not is_zero(value):
        walk.refuse(node)
        return
    move.pad(walk, node)


def resize(walk: Walk, node: gs.Node) -> None:
    """Linear, unless positions outside have a value of their own."""
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        walk.refuse(node)
        return
    move.resize(walk, node)


def nothing(walk: Walk, node: gs.Node) -> None:
    """Shape says nothing about values."""


def moved(rule: Callable[[Walk, gs.Node], None]) -> Rule:
    """A rule of the channel analysis, for tensors that hold channels."""

    def apply(walk: Walk, node: gs.Node) -> None:
        if any(tensor.name in walk.grids for tensor in node.inputs):
            rule(walk, node)

    return apply


RULES: Mapping[str, Rule] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": norm,
    "LayerNormalization": other_norm,
    "InstanceNormalization": other_norm,
    "Clip": moved(clip),
    "Concat": moved(concat),
    "Split": moved(move.split),
    "Slice": moved(move.cut_out),
    "Gather": moved(move.gather),
    "Reshape": moved(move.reshape),
    "Flatten": moved(move.reshape),
    "Squeeze": moved(move.reshape),
    "Unsqueeze": moved(move.reshape),
    "Transpose": moved(move.transpose),
    "Expand": moved(move.expand),
    "Pad": moved(pad),
    "Resize": moved(resize),
    "Shape": nothing,
    **dict.fromkeys(HOMOGENEOUS, moved(homogeneous)),
    **dict.fromkeys(("Add", "Sub", "Sum", "Max", "Min", "Mean"), moved(add)),
    **dict.fromkeys(("Mul", "Div"), multiply),
    **dict.fromkeys(POOLS, moved(reduce.pool)),
    **dict.fromkeys(REDUCTIONS, moved(reduce.reduce)),
}
