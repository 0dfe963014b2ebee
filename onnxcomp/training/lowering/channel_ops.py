"""Operators on channel-major tensors (1, C, H*W*N), where a convolution is one matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import onnx_graphsurgeon as gs

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
    finish_conv(graph, product, bias, target, output)


def finish_conv(
    graph: gs.Graph, product: gs.Tensor, bias: Sequence[gs.Tensor], target: Dims, output: gs.Tensor
) -> None:
    """Shape a convolution's product (M, H*W*N) and add the bias, if there is one."""
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
