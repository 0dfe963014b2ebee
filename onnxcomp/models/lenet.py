"""LeNet-5 (LeCun et al. 1998, "Gradient-based learning applied to document recognition", fig. 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx

from onnxcomp.models.base import Architecture
from onnxcomp.models.writer import Writer

KERNEL = 5


@dataclass(frozen=True)
class LeNet(Architecture):
    """Two convolutions of 5x5, each ended by a 2x2 pooling, and three Linear layers.

    As it is written today: Relu for the scaled tanh, max pooling for trained averages, every map of the
    second convolution reading all of the first, logits for radial basis functions, and three colours.
    Names are those of PyTorch's tutorials (``conv1``, ``conv2``, ``fc1`` to ``fc3``); torchvision has no
    LeNet.

    Attributes:
        widths: output channels of the convolutions.
        hidden: outputs of the first two Linear layers.
        stem: it has one form, for images of 32x32, and this is its name.
    """

    widths: tuple[int, int] = (6, 16)
    hidden: tuple[int, int] = (120, 84)
    stem: str = "cifar"

    @property
    def stems(self) -> tuple[str, ...]:
        return (self.stem,)

    def smallest_input(self, stem: str) -> int:
        """Both poolings halve, rounding down, and the last must leave a pixel."""
        return 2 * (2 + KERNEL - 1) + KERNEL - 1

    def proto(self, name: str, *, num_classes: int, input_size: int, stem: str, seed: int) -> onnx.ModelProto:
        """See :class:`onnxcomp.models.base.Architecture`."""
        net = Writer(seed)
        x, width, size = "input", 3, input_size
        for number, outputs in enumerate(self.widths, start=1):
            x = net.conv(f"conv{number}", x, (outputs, width, KERNEL), bias=True)
            x = net.relu(f"relu{number}", x)
            x = net.node("MaxPool", f"pool{number}", [x], kernel_shape=[2, 2], strides=[2, 2])
            width, size = outputs, (size - KERNEL + 1) // 2
        x, inputs = net.node("Flatten", "flatten", [x], axis=1), width * size * size
        for number, outputs in enumerate(self.hidden, start=1):
            x = net.linear(f"fc{number}", x, (outputs, inputs), deviation=math.sqrt(2 / inputs))
            x, inputs = net.relu(f"relu{number + 2}", x), outputs
        net.head("fc3", x, (num_classes, inputs), "logits")
        return net.finish(name, ["N", 3, input_size, input_size], ["N", num_classes])
