"""Operators on channel-major tensors (1, C, H*W*N), where a convolution is one matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.edit import insert, integers, variable


class Dims(NamedTuple):
    """Sizes of an image tensor (N, C, H, W)."""

    batch: int
    channels: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def size(self) -> int:
        return self.batch * self.channels * self.pixels

    @property
    def columns(self) -> int:
        """Length of a channel in channel-major layout."""
        return self.pixels * self.batch


def reshape(graph: gs.Graph, tensor: gs.Tensor, shape: Sequence[int], output: gs.Tensor) -> gs.Tensor:
    return insert(graph, "Reshape", [tensor, integers(f"{output.name}.shape", shape)], output)


def to_channels(graph: gs.Graph, tensor: gs.Tensor, dims: Dims) -> gs.Tensor:
    """(N, C, H, W) -> (1, C, H*W*N): one transposition of a matrix."""
    name = f"{tensor.name}.channels"
    flat = reshape(graph, tensor, [dims.batch, -1], variable(f"{name}.flat"))
    turned = insert(graph, "Transpose", [flat], variable(f"{name}.turned"), perm=[1, 0])
    shape = [1, dims.channels, dims.columns]
    return reshape(graph, turned, shape, variable(name, shape=shape))


def to_images(graph: gs.Graph, tensor: gs.Tensor, dims: Dims) -> gs.Tensor:
    """(1, C, H*W*N) -> (N, C, H, W)."""
    name = f"{tensor.name}.images"
    flat = reshape(graph, tensor, [-1, dims.batch], variable(f"{name}.flat"))
    turned = insert(graph, "Transpose", [flat], variable(f"{name}.turned"), perm=[1, 0])
    return reshape(graph, turned, dims, variable(name, shape=dims))


def pointwise_conv(graph: gs.Graph, node: gs.Node, source: Dims, target: Dims) -> None:
    """A 1x1 convolution of stride 1: ``W (M, C) @ X (C, H*W*N)``."""
    x, weight, *bias = node.inputs
    output = edit.take_output(node)
    name = output.name
    matrix = reshape(graph, weight, [target.channels, source.channels], variable(f"{name}.matrix"))
    columns = reshape(graph, x, [source.channels, source.columns], variable(f"{name}.columns"))
    product = insert(graph, "MatMul", [matrix, columns], variable(f"{name}.product"))
    _finish_conv(graph, product, bias, target, output)


def dense_conv(graph: gs.Graph, node: gs.Node, source: Dims, target: Dims) -> None:
    """Any convolution of group 1, as the matrix that takes all input pixels to all output pixels.

    The weight (M, C, taps) times a constant of zeros and ones (taps, outputs*inputs) puts each tap
    where it belongs, and adds nothing but zeros to it.
    """
    x, weight, *bias = node.inputs
    places = conv_places(node, source, target)
    output = edit.take_output(node)
    name, pairs = output.name, (target.pixels, source.pixels)
    constant = gs.Constant(f"{edit.PREFIX}{name}.places", places)
    taps = reshape(graph, weight, [-1, len(places)], variable(f"{name}.taps"))
    spread = insert(graph, "MatMul", [taps, constant], variable(f"{name}.spread"))
    if target.pixels > 1:
        shape = [target.channels, source.channels, *pairs]
        spread = reshape(graph, spread, shape, variable(f"{name}.pairs"))
        spread = insert(graph, "Transpose", [spread], variable(f"{name}.turned"), perm=[0, 2, 1, 3])
    shape = [target.channels * pairs[0], source.channels * pairs[1]]
    matrix = reshape(graph, spread, shape, variable(f"{name}.matrix"))
    columns = reshape(graph, x, [shape[1], source.batch], variable(f"{name}.columns"))
    product = insert(graph, "MatMul", [matrix, columns], variable(f"{name}.product"))
    _finish_conv(graph, product, bias, target, output)


def conv_places(node: gs.Node, source: Dims, target: Dims) -> NDArray[np.float32]:
    """1 where a kernel's tap (row) joins an output pixel with an input pixel (column)."""
    rows, columns = node.inputs[1].shape[2:]
    (sy, sx), (dy, dx) = node.attrs.get("strides", (1, 1)), node.attrs.get("dilations", (1, 1))
    top, left = node.attrs.get("pads", (0, 0, 0, 0))[:2]
    places = np.zeros((rows, columns, target.height, target.width, source.height, source.width), np.float32)
    for ky, kx, oy, ox in np.ndindex(places.shape[:4]):
        y, x = oy * sy + ky * dy - top, ox * sx + kx * dx - left
        if 0 <= y < source.height and 0 <= x < source.width:
            places[ky, kx, oy, ox, y, x] = 1
    return places.reshape(rows * columns, -1)


def _finish_conv(
    graph: gs.Graph, product: gs.Tensor, bias: Sequence[gs.Tensor], target: Dims, output: gs.Tensor
) -> None:
    name, shape = output.name, [1, target.channels, target.columns]
    if not bias:
        reshape(graph, product, shape, output)
        return
    rows = reshape(graph, product, shape, variable(f"{name}.rows"))
    column = reshape(graph, bias[0], [1, target.channels, 1], variable(f"{name}.bias"))
    insert(graph, "Add", [rows, column], output)


def average_pool(graph: gs.Graph, node: gs.Node, source: Dims, target: Dims) -> None:
    """AveragePool whose windows tile the image (see :func:`average_pool.tiles`)."""
    x = node.inputs[0]
    rows, columns = node.attrs["kernel_shape"]
    output = edit.take_output(node)
    name = output.name
    shape = [source.channels * target.height, rows, target.width, columns, source.batch]
    windows = reshape(graph, x, shape, variable(f"{name}.windows", shape=shape))
    mean = variable(f"{name}.mean")
    edit.reduce_mean(graph, windows, mean, axes=(1, 3), keepdims=False)
    reshape(graph, mean, [1, target.channels, target.columns], output)
