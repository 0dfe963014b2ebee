"""AlexNet (Krizhevsky et al. 2012; this form: Krizhevsky 2014, arXiv 1404.5997), named and laid out as
torchvision does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx

from onnxcomp.models.adaptive import adaptive_average
from onnxcomp.models.base import Architecture
from onnxcomp.models.writer import Writer

KERNELS = (5, 3, 3, 3)  # of the convolutions after the first
POOLED = (0, 1, 4)  # the convolutions that a 3x3 max pooling of stride 2 follows
GRID = {"imagenet": 6, "cifar": 3}  # pixels per side that the classifier reads


@dataclass(frozen=True)
class AlexNet(Architecture):
    """Five convolutions and three Linear layers; no BatchNormalization.

    Dropout is left out: the file is the network in inference form.

    Attributes:
        widths: output channels of the convolutions.
        hidden: outputs of the first two Linear layers.
        stem: the stem the network is known with. ``imagenet`` is torchvision's: a first convolution of
            11x11 and stride 4, and a classifier that reads 6x6 pixels. ``cifar`` is for images of
            32x32: a first convolution of 3x3 and stride 1, and a classifier that reads the 3x3 pixels
            which the same three poolings then leave.
    """

    widths: tuple[int, int, int, int, int] = (64, 192, 384, 256, 256)
    hidden: int = 4096
    stem: str = "imagenet"

    def smallest_input(self, stem: str) -> int:
        """Three poolings of 3x3 and stride 2, the last of which must leave a pixel."""
        pooled = 2 * (2 * (2 + 1) + 1) + 1
        return pooled if stem == "cifar" else 4 * (pooled - 1) + 11 - 4

    def proto(self, name: str, *, num_classes: int, input_size: int, stem: str, seed: int) -> onnx.ModelProto:
        """See :class:`onnxcomp.models.base.Architecture`."""
        net, grid = Writer(seed), GRID[stem]
        size = input_size if stem == "cifar" else (input_size - 7) // 4 + 1
        for _ in POOLED:
            size = (size - 1) // 2
        x = adaptive_average(net, self._features(net, stem), size, grid)
        x, inputs = net.node("Flatten", "flatten", [x], axis=1), self.widths[-1] * grid * grid
        for number in (1, 4):
            shape = (self.hidden, inputs)
            x = net.linear(f"classifier.{number}", x, shape, deviation=math.sqrt(2 / inputs))
            x, inputs = net.relu(f"classifier.{number + 1}", x), self.hidden
        net.head("classifier.6", x, (num_classes, inputs), "logits")
        return net.finish(name, ["N", 3, input_size, input_size], ["N", num_classes])

    def _features(self, net: Writer, stem: str) -> str:
        """Layers are numbered as in torchvision's ``Sequential``."""
        x, width, index = "input", 3, 0
        first = (3, 1, 1) if stem == "cifar" else (11, 4, 2)
        layers = [first, *((kernel, 1, kernel // 2) for kernel in KERNELS)]
        for number, (outputs, (kernel, stride, pad)) in enumerate(zip(self.widths, layers, strict=True)):
            shape = (outputs, width, kernel)
            x = net.conv(f"features.{index}", x, shape, stride=stride, pad=pad, bias=True)
            x = net.relu(f"features.{index + 1}", x)
            width, index = outputs, index + 2
            if number in POOLED:
                x = net.node("MaxPool", f"features.{index}", [x], kernel_shape=[3, 3], strides=[2, 2])
                index += 1
        return x
