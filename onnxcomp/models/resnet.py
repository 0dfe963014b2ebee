"""ResNet (He et al. 2016, arXiv 1512.03385), named and laid out as torchvision does."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from onnxcomp.models.base import Architecture
from onnxcomp.models.writer import Writer

EXPANSION = 4  # output channels of a bottleneck block, in multiples of its width (table 1)


@dataclass(frozen=True)
class ResNet(Architecture):
    """A ResNet of four stages whose width doubles as the resolution halves.

    Attributes:
        blocks: blocks of each stage.
        bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions in place of two 3x3. The 3x3 carries the
            stride, which torchvision calls ResNet v1.5.
        features: channels after the stem, and in the blocks of the first stage.
        stem: the stem the network is known with. ``imagenet`` is a 7x7 convolution of stride 2 and a
            3x3 max pooling; ``cifar`` is a 3x3 convolution of stride 1, without pooling. Both keep
            ``conv1`` and ``bn1``.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool = False
    features: int = 64
    stem: str = "imagenet"

    def smallest_input(self, stem: str) -> int:
        """Every halving is padded and leaves a pixel."""
        return 1

    def proto(self, name: str, *, num_classes: int, input_size: int, stem: str, seed: int) -> onnx.ModelProto:
        """See :class:`onnxcomp.models.base.Architecture`."""
        net = Writer(seed)
        x, width = _stem(net, stem, self.features), self.features
        for stage, blocks in enumerate(self.blocks, start=1):
            hidden = self.features << (stage - 1)
            for number in range(blocks):
                stride = 2 if stage > 1 and number == 0 else 1
                x, width = self._block(net, f"layer{stage}.{number}", x, (width, hidden), stride)
        net.classifier("fc", x, width, num_classes, "logits")
        return net.finish(name, ["N", 3, input_size, input_size], ["N", num_classes])

    def _block(self, net: Writer, name: str, x: str, widths: tuple[int, int], stride: int) -> tuple[str, int]:
        """Convolutions beside a shortcut; ``widths`` are of the input and inside the block."""
        inputs, hidden = widths
        outputs = hidden * (EXPANSION if self.bottleneck else 1)
        kernels = (1, 3, 1) if self.bottleneck else (3, 3)
        strides = (1, stride, 1) if self.bottleneck else (stride, 1)
        y, width = x, inputs
        for number, (kernel, step) in enumerate(zip(kernels, strides, strict=True), start=1):
            last = number == len(kernels)
            shape = (outputs if last else hidden, width, kernel)
            y = _conv(net, (f"{name}.conv{number}", f"{name}.bn{number}"), y, shape, step)
            width = shape[0]
            if not last:
                y = net.relu(f"{name}.relu{number}", y)
        if stride > 1 or inputs != outputs:
            names = (f"{name}.downsample.0", f"{name}.downsample.1")
            x = _conv(net, names, x, (outputs, inputs, 1), stride)
        return net.relu(f"{name}.relu", net.node("Add", f"{name}.add", [y, x])), outputs


def _stem(net: Writer, stem: str, features: int) -> str:
    small = stem == "cifar"
    x = net.relu("relu", _conv(net, ("conv1", "bn1"), "input", (features, 3, 3 if small else 7), 2 - small))
    if small:
        return x
    return net.node("MaxPool", "maxpool", [x], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])


def _conv(net: Writer, names: tuple[str, str], x: str, shape: tuple[int, int, int], stride: int) -> str:
    """Convolution that keeps the size but for its stride, and BatchNormalization."""
    conv, norm = names
    y = net.conv(conv, x, shape, stride=stride, pad=shape[2] // 2, fan_out=True)
    return net.norm(norm, y, shape[0])
