"""MobileNet-V2 (Sandler et al. 2018, arXiv 1801.04381), named and laid out as torchvision does."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from onnxcomp.models.base import Architecture
from onnxcomp.models.writer import Writer

# Of each stage: expansion, output channels, blocks, stride of the first (table 2 of the paper).
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FIRST, LAST = 32, 1280  # output channels of the first convolution and of the last


@dataclass(frozen=True)
class MobileNetV2(Architecture):
    """Inverted residuals: a 1x1 convolution that widens, a depthwise 3x3, a 1x1 that narrows again.

    Dropout is left out: the file is the network in inference form.

    Attributes:
        width_mult: what every width is multiplied by; the last convolution's only above 1.
        round_nearest: widths are rounded to a multiple of it, never down by more than a tenth.
        stem: the stem the network is known with. ``imagenet`` halves the image in the first
            convolution and again in the second stage; in ``cifar`` both have stride 1. The parameters
            are the same.
    """

    width_mult: float = 1.0
    round_nearest: int = 8
    stem: str = "imagenet"

    def smallest_input(self, stem: str) -> int:
        """Every halving is padded and leaves a pixel."""
        return 1

    def proto(self, name: str, *, num_classes: int, input_size: int, stem: str, seed: int) -> onnx.ModelProto:
        """See :class:`onnxcomp.models.base.Architecture`."""
        net, small = Writer(seed), stem == "cifar"
        width, index = self._width(FIRST), 1
        x = _conv(net, "features.0", "input", (width, 3, 3), stride=1 if small else 2)
        for stage, (expansion, channels, blocks, stride) in enumerate(STAGES):
            outputs = self._width(channels)
            for block in range(blocks):
                step = 1 if block or (small and stage == 1) else stride
                shape = (outputs, width, expansion)
                x = _block(net, f"features.{index}", x, shape, step)
                width, index = outputs, index + 1
        last = _divisible(LAST * max(1.0, self.width_mult), self.round_nearest)
        x = _conv(net, f"features.{index}", x, (last, width, 1))
        net.classifier("classifier.1", x, last, num_classes, "logits")
        return net.finish(name, ["N", 3, input_size, input_size], ["N", num_classes])

    def _width(self, channels: int) -> int:
        return _divisible(channels * self.width_mult, self.round_nearest)


def _divisible(width: float, divisor: int) -> int:
    """The nearest multiple, at least one, or the next where rounding takes more than a tenth away."""
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return nearest if nearest >= 0.9 * width else nearest + divisor


def _block(net: Writer, name: str, x: str, shape: tuple[int, int, int], stride: int) -> str:
    """``shape`` is (output channels, input channels, expansion)."""
    outputs, inputs, expansion = shape
    hidden, y, index = inputs * expansion, x, 0
    if expansion != 1:
        y = _conv(net, f"{name}.conv.0", y, (hidden, inputs, 1))
        index = 1
    y = _conv(net, f"{name}.conv.{index}", y, (hidden, hidden, 3), stride=stride, group=hidden)
    y = net.conv(f"{name}.conv.{index + 1}", y, (outputs, hidden, 1), fan_out=True)
    y = net.norm(f"{name}.conv.{index + 2}", y, outputs)
    if stride > 1 or inputs != outputs:
        return y
    return net.node("Add", f"{name}.add", [x, y])


def _conv(
    net: Writer, name: str, x: str, shape: tuple[int, int, int], *, stride: int = 1, group: int = 1
) -> str:
    """Convolution, BatchNormalization and Relu6, numbered as in torchvision's ``Conv2dNormActivation``."""
    pad = shape[2] // 2
    y = net.conv(f"{name}.0", x, shape, stride=stride, pad=pad, group=group, fan_out=True)
    return net.relu6(f"{name}.2", net.norm(f"{name}.1", y, shape[0]))
