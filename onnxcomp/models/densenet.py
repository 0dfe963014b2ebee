"""DenseNet (Huang et al. 2017, arXiv 1608.06993), named and laid out as torchvision does."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from onnxcomp.models.base import Architecture
from onnxcomp.models.writer import Writer


@dataclass(frozen=True)
class DenseNet(Architecture):
    """A DenseNet-BC: bottleneck layers, and transitions that halve the features.

    Attributes:
        growth: features that each layer adds.
        blocks: layers of each dense block.
        features: features after the stem.
        bn_size: features of a layer's 1x1 convolution, in multiples of the growth rate (section 3).
        stem: the stem the network is known with. ``imagenet`` is a 7x7 convolution of stride 2 and a
            3x3 max pooling; ``cifar`` is a 3x3 convolution of stride 1, without pooling. Both keep
            ``norm0`` and ``relu0``.
    """

    growth: int
    blocks: tuple[int, ...]
    features: int
    bn_size: int = 4
    stem: str = "imagenet"

    def smallest_input(self, stem: str) -> int:
        """Each transition halves and must leave a pixel; the ImageNet stem halves twice, rounding up."""
        size = int(2 ** (len(self.blocks) - 1))
        return size if stem == "cifar" else 2 * (2 * size - 1) - 1

    def proto(self, name: str, *, num_classes: int, input_size: int, stem: str, seed: int) -> onnx.ModelProto:
        """See :class:`onnxcomp.models.base.Architecture`."""
        net = Writer(seed)
        x = self._stem(net, stem)
        width = self.features
        for number, layers in enumerate(self.blocks, start=1):
            x, width = self._block(net, f"features.denseblock{number}", x, width, layers)
            if number < len(self.blocks):
                x, width = _transition(net, f"features.transition{number}", x, width)
        x = net.relu("features.relu5", net.norm("features.norm5", x, width))
        net.classifier("classifier", x, width, num_classes, "logits")
        return net.finish(name, ["N", 3, input_size, input_size], ["N", num_classes])

    def _stem(self, net: Writer, stem: str) -> str:
        small = stem == "cifar"
        kernel, stride, pad = (3, 1, 1) if small else (7, 2, 3)
        x = net.conv("features.conv0", "input", (self.features, 3, kernel), stride=stride, pad=pad)
        x = net.relu("features.relu0", net.norm("features.norm0", x, self.features))
        if small:
            return x
        return net.node("MaxPool", "features.pool0", [x], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])

    def _block(self, net: Writer, name: str, x: str, width: int, layers: int) -> tuple[str, int]:
        """Each layer reads the joined outputs of all before it; returns all of them joined."""
        parts, hidden = [x], self.bn_size * self.growth
        for number in range(1, layers + 1):
            layer = f"{name}.denselayer{number}"
            y = net.relu(f"{layer}.relu1", net.norm(f"{layer}.norm1", x, width))
            y = net.conv(f"{layer}.conv1", y, (hidden, width, 1))
            y = net.relu(f"{layer}.relu2", net.norm(f"{layer}.norm2", y, hidden))
            y = net.conv(f"{layer}.conv2", y, (self.growth, hidden, 3), pad=1)
            parts.append(y)
            width += self.growth
            x = net.node("Concat", f"{layer}.concat", parts, axis=1)
        return x, width


def _transition(net: Writer, name: str, x: str, width: int) -> tuple[str, int]:
    x = net.relu(f"{name}.relu", net.norm(f"{name}.norm", x, width))
    x = net.conv(f"{name}.conv", x, (width // 2, width, 1))
    x = net.node("AveragePool", f"{name}.pool", [x], kernel_shape=[2, 2], strides=[2, 2])
    return x, width // 2
