"""Conv, ConvTranspose, Gemm and MatMul: the weight divides by what is read and multiplies what is made."""

from __future__ import annotations

import math

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.passes.channels.ids import Array
from onnxcomp.passes.qat.scaling.walk import Walk, Weighed, absent, is_free, own, vector


def conv(walk: Walk, node: gs.Node) -> None:
    """Weight (outputs, inputs / group, ...): row o of group g reads inputs g * I .. (g + 1) * I - 1."""
    weight = own(node, 1)
    channels = walk.channels(node.inputs[0], 1, node)
    if weight is None or _hides(node, weight.shape[0]):
        walk.refuse(node)
        return
    outputs, inputs = weight.shape[:2]
    group = int(node.attrs.get("group", 1))
    table = np.broadcast_to(channels, inputs * group).reshape(group, inputs)
    if group > 1:
        table = np.repeat(table, outputs // group, axis=0)
    _read(walk, node.inputs[0], channels, weight, table, free=inputs == 1)
    _make(walk, node, weight, 0, outputs)


def conv_transpose(walk: Walk, node: gs.Node) -> None:
    """Weight (inputs, outputs / group, ...)."""
    weight = own(node, 1)
    channels = walk.channels(node.inputs[0], 1, node)
    if weight is None or _hides(node, weight.shape[1]) or int(node.attrs.get("group", 1)) > 1:
        walk.refuse(node)
        return
    _read(walk, node.inputs[0], channels, weight, channels.reshape(-1, 1), free=False)
    _make(walk, node, weight, 1, weight.shape[1])


def gemm(walk: Walk, node: gs.Node) -> None:
    """``A B + C`` with a constant B."""
    weight = own(node, 1)
    outputs = 0 if node.attrs.get("transB", 0) else 1
    if weight is None or node.attrs.get("transA", 0) or _hides(node, weight.shape[outputs]):
        walk.refuse(node)
        return
    channels = walk.channels(node.inputs[0], 1, node)
    _read(walk, node.inputs[0], channels, weight, vector(channels, 1 - outputs, 2), free=False)
    _make(walk, node, weight, outputs, weight.shape[outputs])


def matmul(walk: Walk, node: gs.Node) -> None:
    """A constant matrix on the right; others keep channels."""
    weight = own(node, 1)
    if weight is None or len(weight.shape) != 2:
        walk.refuse(node)
        return
    channels = walk.channels(node.inputs[0], -1, node)
    _read(walk, node.inputs[0], channels, weight, vector(channels, 0, 2), free=False)
    _make(walk, node, weight, 1, weight.shape[1], behind=-1)


def _hides(node: gs.Node, outputs: int) -> bool:
    """Whether there is a bias that no factor can multiply: shared, computed, or one value for all."""
    if absent(node, 2):
        return False
    bias = own(node, 2)
    return bias is None or math.prod(bias.shape) != outputs or bias.shape[-1] != outputs


def _read(
    walk: Walk, tensor: gs.Tensor, channels: Array, weight: gs.Constant, table: Array, *, free: bool
) -> None:
    if is_free(channels):
        table = table.reshape(*table.shape, *[1] * (len(weight.shape) - table.ndim))
        walk.read(tensor, channels, Weighed(weight, table, inverse=True), free=free)


def _make(
    walk: Walk, node: gs.Node, weight: gs.Constant, axis: int, outputs: int, *, behind: int = 1
) -> None:
    made = walk.fresh(node.outputs[0], outputs, behind)
    walk.multiply(weight, vector(made, axis, len(weight.shape)))
    bias = None if absent(node, 2) else own(node, 2)
    if bias is not None:
        walk.multiply(bias, vector(made, -1, len(bias.shape)))
