"""`auto_pad` and a missing `kernel_shape` are written out: ONNX Runtime's ConvGrad reads neither.

Nor do later lowerings, which take nodes of the teacher too.
"""

from __future__ import annotations

import math

import onnx_graphsurgeon as gs

from onnxcomp.training.lowering.base import Lowering

WINDOWED = ("Conv", "MaxPool", "AveragePool")


def lower_padding(graph: gs.Graph) -> int:
    """Make the padding of Conv and pooling nodes explicit; returns how many changed."""
    count = 0
    for node in graph.nodes:
        if node.op not in WINDOWED:
            continue
        if node.op == "Conv" and "kernel_shape" not in node.attrs:
            node.attrs["kernel_shape"] = [int(size) for size in node.inputs[1].shape[2:]]
        mode = node.attrs.pop("auto_pad", "NOTSET")
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            node.attrs["pads"] = _same(node, upper=mode == "SAME_UPPER")
            count += 1
    return count


def _same(node: gs.Node, upper: bool) -> list[int]:
    """Pads, all beginnings first, for an output of ``ceil(input / stride)``."""
    kernel = node.attrs["kernel_shape"]
    strides = node.attrs.get("strides", [1] * len(kernel))
    dilations = node.attrs.get("dilations", [1] * len(kernel))
    begins, ends = [], []
    for size, k, stride, dilation in zip(node.inputs[0].shape[2:], kernel, strides, dilations, strict=True):
        reach = (math.ceil(size / stride) - 1) * stride + (k - 1) * dilation + 1
        total = max(reach - size, 0)
        small, large = total // 2, total - total // 2
        begins.append(small if upper else large)
        ends.append(large if upper else small)
    return begins + ends


LOWERING = Lowering(
    "explicit padding",
    "Conv and pooling with auto_pad, which neither their gradients nor other lowerings read",
    lambda training: lower_padding(training.graph),
)
