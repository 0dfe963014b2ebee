"""Cut off the parts of convolution kernels that only ever meet padding.

Where a map is as small as its padding, some taps of the kernel multiply nothing but zeros: a 3x3 kernel with
padding 1 on a 1x1 map uses its centre alone, as in the last block of a DenseNet for 32x32 images. Without
them the answers are the same, and the weights fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.shapes import Shape, shapes


@dataclass(frozen=True)
class Crops:
    """What :func:`crop_kernels` did.

    Attributes:
        kernels: convolutions whose kernel is smaller now.
        weights: weights that went.
    """

    kernels: int = 0
    weights: int = 0


@dataclass(frozen=True)
class _Axis:
    """A convolution along one spatial axis: sizes in elements."""

    size: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int

    @property
    def outputs(self) -> int:
        return (self.size + self.begin + self.end - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    def meets(self, tap: int) -> bool:
        """Whether ``tap`` multiplies an element of the map for some output."""
        first = tap * self.dilation - self.begin
        return any(0 <= first + output * self.stride < self.size for output in range(self.outputs))

    def cropped(self) -> tuple[int, _Axis]:
        """First tap that stays, and the axis with the taps from there to the last that is of use."""
        useful = [tap for tap in range(self.kernel) if self.meets(tap)]
        if not useful:
            return 0, self
        first, last = useful[0], useful[-1]
        first = min(first, self.begin // self.dilation)  # no negative padding
        kernel = last - first + 1
        begin = self.begin - first * self.dilation
        reach = (self.outputs - 1) * self.stride + self.dilation * (kernel - 1) + 1
        end = max(0, reach - self.size - begin)
        axis = _Axis(self.size, kernel, self.stride, self.dilation, begin, end)
        return (first, axis) if axis.outputs == self.outputs else (0, self)


def crop_kernels(graph: gs.Graph) -> Crops:
    """Crop in place; weights are float32 constants, or INT8 constants -> DequantizeLinear.

    Masks must have been multiplied in. A kernel stays where the map's size is not known or another node
    uses the same weight.
    """
    fixed = shapes(graph).fixed
    kernels = weights = 0
    for node in graph.nodes:
        if node.op == "Conv":
            gone = _crop(node, fixed.get(node.inputs[0].name, ()))
            kernels += gone > 0
            weights += gone
    return Crops(kernels, weights)


def _crop(node: gs.Node, shape: Shape) -> int:
    """Crop one kernel; returns the number of weights that went."""
    constant = _own_weight(node)
    if constant is None:
        return 0
    axes = _axes(node, shape, constant.values.shape[2:])
    if axes is None:
        return 0
    found = [axis.cropped() for axis in axes]
    if all(axis.kernel == before.kernel for before, (_, axis) in zip(axes, found, strict=True)):
        return 0
    size = int(constant.values.size)
    window = tuple(slice(first, first + axis.kernel) for first, axis in found)
    constant.values = np.ascontiguousarray(constant.values[(..., *window)])
    if node.inputs[1] is not constant:
        node.inputs[1].shape = constant.values.shape
    node.attrs.pop("auto_pad", None)
    node.attrs["kernel_shape"] = [axis.kernel for _, axis in found]
    node.attrs["pads"] = [axis.begin for _, axis in found] + [axis.end for _, axis in found]
    return size - int(constant.values.size)


def _own_weight(node: gs.Node) -> gs.Constant | None:
    """The weight that ``node`` alone uses."""
    tensor = node.inputs[1]
    if tensor.inputs and tensor.inputs[0].op == "DequantizeLinear" and len(tensor.outputs) == 1:
        tensor = tensor.inputs[0].inputs[0]
    return tensor if isinstance(tensor, gs.Constant) and len(tensor.outputs) == 1 else None


def _axes(node: gs.Node, shape: Shape, kernel: Sequence[int]) -> list[_Axis] | None:
    """The convolution by axis, or None where the map's size is not known."""
    rank = len(kernel)
    sizes = [size for size in shape[2:] if size]
    if len(sizes) != rank or node.attrs.get("auto_pad", "NOTSET") not in PADS:
        return None
    strides = node.attrs.get("strides") or [1] * rank
    dilations = node.attrs.get("dilations") or [1] * rank
    pads = _pads(node, sizes, kernel, strides, dilations)
    return [
        _Axis(*map(int, one))
        for one in zip(sizes, kernel, strides, dilations, pads[:rank], pads[rank:], strict=True)
    ]


PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


def _pads(
    node: gs.Node,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    """Zeros before each axis, then behind each; ``auto_pad`` by the specification of Conv."""
    mode, rank = node.attrs.get("auto_pad", "NOTSET"), len(kernel)
    if mode == "NOTSET":
        return list(node.attrs.get("pads") or [0] * 2 * rank)
    if mode == "VALID":
        return [0] * 2 * rank
    before, behind = [], []
    for size, taps, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size)
        small, large = total // 2, total - total // 2
        before.append(small if mode == "SAME_UPPER" else large)
        behind.append(large if mode == "SAME_UPPER" else small)
    return before + behind
