"""Convolutions over few pixels as products over the whole batch, in channel-major layout.

ONNX Runtime computes the gradient of a convolution image by image: a column matrix, and products that
are tiny where an image has few pixels. Here the batch is one matrix, and no column matrix is written.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import Lowering
from onnxcomp.training.lowering.channel_ops import Dims, finish_conv, reshape
from onnxcomp.training.lowering.edit import insert, variable
from onnxcomp.training.lowering.parameters import Training

# Measured from 4 to 512 channels and 1 to 256 pixels: ONNX Runtime's own form loses by few output
# channels, those here by many input pixels, and they break even here.
BREAK_EVEN = 40

Emit = Callable[[gs.Graph, gs.Node, Dims, Dims], None]


def form_of(node: gs.Node, source: Dims, target: Dims) -> Emit | None:
    """The form in which a Conv of channel-major tensors pays, or None where none does."""
    if node.attrs.get("group", 1) != 1 or len(node.inputs[1].shape) != 4:
        return None
    if target.pixels == 1 and source.pixels <= np.prod(node.inputs[1].shape[2:]):
        return one_output_pixel
    if source.pixels <= BREAK_EVEN and (target.channels > source.channels or source.pixels > target.pixels):
        return gathered_inputs
    work = source.pixels * target.channels
    return (
        scattered_outputs if source.pixels == target.pixels and work <= BREAK_EVEN * source.channels else None
    )


def lower_small_convs(training: Training) -> int:
    """Write the convolutions that channel-major regions have left; returns how many."""
    waiting = training.small_convs
    # Nodes of other lowerings are called as the tensors they write, which may be the name of a node too.
    nodes = [node for node in training.graph.nodes if node.op == "Conv" and node.name in waiting]
    for node in nodes:
        source, target = waiting.pop(node.name)
        emit = form_of(node, source, target)
        assert emit is not None
        emit(training.graph, node, source, target)
    if nodes:
        edit.settle(training.graph)
    return len(nodes)


def one_output_pixel(graph: gs.Graph, node: gs.Node, source: Dims, target: Dims) -> None:
    """One product: of the weights, placed at the input pixels that they meet, with all input pixels.

    ``(M, C * inputs) @ (C * inputs, N)``.
    """
    x, weight, *bias = node.inputs
    places = tap_places(node, source, target)[:, 0]
    output = edit.take_output(node)
    name = output.name
    constant = gs.Constant(f"{edit.PREFIX}{name}.places", np.ascontiguousarray(places))
    taps = reshape(graph, weight, [-1, len(places)], variable(f"{name}.taps"))
    placed = insert(graph, "MatMul", [taps, constant], variable(f"{name}.placed"))
    inputs = source.channels * source.pixels
    matrix = reshape(graph, placed, [target.channels, inputs], variable(f"{name}.matrix"))
    columns = reshape(graph, x, [inputs, source.batch], variable(f"{name}.columns"))
    product = insert(graph, "MatMul", [matrix, columns], variable(f"{name}.product"))
    finish_conv(graph, product, bias, target, output)


def gathered_inputs(graph: gs.Graph, node: gs.Node, source: Dims, target: Dims) -> None:
    """A column matrix for the whole batch, ``(C * taps, outputs * N)``, and one product with the weights.

    The pixels are gathered by a matrix of zeros and ones, (taps * outputs, inputs), for each channel: it
    costs ``inputs / M`` of the convolution.
    """
    x, weight, *bias = node.inputs
    places = tap_places(node, source, target)
    output = edit.take_output(node)
    name = output.name
    constant = gs.Constant(f"{edit.PREFIX}{name}.places", places.reshape(-1, source.pixels))
    shape = [source.channels, source.pixels, source.batch]
    pixels = reshape(graph, x, shape, variable(f"{name}.pixels"))
    gathered = insert(graph, "MatMul", [constant, pixels], variable(f"{name}.gathered"))
    shape = [source.channels * len(places), target.columns]
    columns = reshape(graph, gathered, shape, variable(f"{name}.columns"))
    matrix = reshape(graph, weight, [target.channels, -1], variable(f"{name}.matrix"))
    product = insert(graph, "MatMul", [matrix, columns], variable(f"{name}.product"))
    finish_conv(graph, product, bias, target, output)


def scattered_outputs(graph: gs.Graph, node: gs.Node, source: Dims, target: Dims) -> None:
    """A 1x1 convolution to ``M * taps`` channels, then the sum of its shifted results; for stride 1.

    The kernel-to-row method of Anderson, Vasudevan, Keane and Gregg 2017 ("Low-memory GEMM-based
    convolution algorithms for deep neural networks"). The shifts of a channel's taps are one matrix of
    zeros and ones, (outputs, taps * inputs): they cost ``inputs / C`` of the convolution.
    """
    x, weight, *bias = node.inputs
    places = tap_places(node, source, target)
    taps = len(places)
    shifts = places.transpose(1, 0, 2).reshape(target.pixels, taps * source.pixels)
    output = edit.take_output(node)
    name = output.name
    constant = gs.Constant(f"{edit.PREFIX}{name}.shifts", np.ascontiguousarray(shifts))
    shape = [target.channels, source.channels, taps]
    kernels = reshape(graph, weight, shape, variable(f"{name}.kernels"))
    turned = insert(graph, "Transpose", [kernels], variable(f"{name}.turned"), perm=[0, 2, 1])
    matrix = reshape(graph, turned, [-1, source.channels], variable(f"{name}.matrix"))
    columns = reshape(graph, x, [source.channels, source.columns], variable(f"{name}.columns"))
    products = insert(graph, "MatMul", [matrix, columns], variable(f"{name}.products"))
    shape = [target.channels, taps * source.pixels, source.batch]
    by_tap = reshape(graph, products, shape, variable(f"{name}.by_tap"))
    product = insert(graph, "MatMul", [constant, by_tap], variable(f"{name}.product"))
    finish_conv(graph, product, bias, target, output)


def tap_places(node: gs.Node, source: Dims, target: Dims) -> NDArray[np.float32]:
    """1 where a kernel's tap joins an output pixel with an input pixel: (taps, outputs, inputs)."""
    rows, columns = node.inputs[1].shape[2:]
    (sy, sx), (dy, dx) = node.attrs.get("strides", (1, 1)), node.attrs.get("dilations", (1, 1))
    top, left = node.attrs.get("pads", (0, 0, 0, 0))[:2]
    places = np.zeros((rows, columns, target.height, target.width, source.height, source.width), np.float32)
    for ky, kx, oy, ox in np.ndindex(places.shape[:4]):
        y, x = oy * sy + ky * dy - top, ox * sx + kx * dx - left
        if 0 <= y < source.height and 0 <= x < source.width:
            places[ky, kx, oy, ox, y, x] = 1
    return places.reshape(rows * columns, target.pixels, source.pixels)


LOWERING = Lowering(
    "small convolutions",
    f"in channel-major regions: at most {BREAK_EVEN} pixels, or pixels x outputs <= {BREAK_EVEN} x inputs",
    lower_small_convs,
)
