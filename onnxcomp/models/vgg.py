"""VGG (Simonyan & Zisserman 2015, arXiv 1409.1556), named and laid out as torchvision does."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from onnxcomp.models.adaptive import adaptive_average
from onnxcomp.models.base import Architecture
from onnxcomp.models.writer import Writer

GRID = 7  # pixels per side that the classifier of the imagenet form reads


@dataclass(frozen=True)
class VGG(Architecture):
    """Five stages of 3x3 convolutions, each ended by a 2x2 max pooling.

    Dropout is left out: the file is the network in inference form.

    Attributes:
        convolutions: of each stage.
        batch_norm: a BatchNormalization after each convolution.
        stem: the form the network is known with. It has one stem, and the name chooses its classifier:
            ``imagenet`` averages to 7x7 as torchvision's AdaptiveAvgPool2d does and has three Linear
            layers (124 million parameters); ``cifar`` averages to one pixel and has one, the usual
            form for images of 32x32.
        widths: output channels of each stage.
        hidden: outputs of the first two Linear layers of the imagenet form.
    """

    convolutions: tuple[int, int, int, int, int]
    batch_norm: bool = True
    stem: str = "imagenet"
    widths: tuple[int, int, int, int, int] = (64, 128, 256, 512, 512)
    hidden: int = 4096

    def smallest_input(self, stem: str) -> int:
        """Five poolings, each rounding down."""
        return int(2 ** len(self.widths))

    def proto(self, name: str, *, num_classes: int, input_size: int, stem: str, seed: int) -> onnx.ModelProto:
        """See :class:`onnxcomp.models.base.Architecture`."""
        net = Writer(seed)
        x = self._features(net)
        if stem == "cifar":
            net.classifier("classifier", x, self.widths[-1], num_classes, "logits")
        else:
            x = adaptive_average(net, x, input_size // 2 ** len(self.widths), GRID)
            self._classifier(net, x, num_classes)
        return net.finish(name, ["N", 3, input_size, input_size], ["N", num_classes])

    def _features(self, net: Writer) -> str:
        """Layers are numbered as in torchvision's ``Sequential``."""
        x, width, index = "input", 3, 0
        for outputs, convolutions in zip(self.widths, self.convolutions, strict=True):
            for _ in range(convolutions):
                shape = (outputs, width, 3)
                x = net.conv(f"features.{index}", x, shape, pad=1, bias=True, fan_out=True)
                if self.batch_norm:
                    index += 1
                    x = net.norm(f"features.{index}", x, outputs)
                x = net.relu(f"features.{index + 1}", x)
                width, index = outputs, index + 2
            x = net.node("MaxPool", f"features.{index}", [x], kernel_shape=[2, 2], strides=[2, 2])
            index += 1
        return x

    def _classifier(self, net: Writer, x: str, classes: int) -> None:
        x = net.node("Flatten", "flatten", [x], axis=1)
        x = net.linear("classifier.0", x, (self.hidden, self.widths[-1] * GRID * GRID))
        x = net.relu("classifier.1", x)
        x = net.relu("classifier.4", net.linear("classifier.3", x, (self.hidden, self.hidden)))
        net.linear("classifier.6", x, (classes, self.hidden), output="logits")
