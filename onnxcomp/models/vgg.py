"""VGG (Simonyan & Zisserman 2015, arXiv 1409.1556), named and laid out as torchvision does."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from onnxcomp.models.writer import Writer

WIDTHS = (64, 128, 256, 512, 512)
GRID = 7  # pixels per side that the classifier of the imagenet form reads
HIDDEN = 4096


@dataclass(frozen=True)
class VGG:
    """Five stages of 3x3 convolutions, each ended by a 2x2 max pooling.

    Dropout is left out: the file is the network in inference form.

    Attributes:
        convolutions: of each stage.
        batch_norm: a BatchNormalization after each convolution.
        stem: the form the network is known with. It has one stem, and the name chooses its classifier:
            ``imagenet`` averages to 7x7 as torchvision's AdaptiveAvgPool2d does and has three Linear
            layers (124 million parameters); ``cifar`` averages to one pixel and has one, the usual
            form for images of 32x32.
    """

    convolutions: tuple[int, int, int, int, int]
    batch_norm: bool = True
    stem: str = "imagenet"

    def smallest_input(self, stem: str) -> int:
        """Five poolings, each rounding down."""
        return int(2 ** len(WIDTHS))

    def proto(self, name: str, *, num_classes: int, input_size: int, stem: str, seed: int) -> onnx.ModelProto:
        """See :class:`onnxcomp.models.base.Architecture`."""
        net = Writer(seed)
        x = self._features(net)
        if stem == "cifar":
            net.classifier("classifier", x, WIDTHS[-1], num_classes, "logits")
        else:
            _classifier(net, adaptive_average(net, x, input_size // 2 ** len(WIDTHS)), num_classes)
        return net.finish(name, ["N", 3, input_size, input_size], ["N", num_classes])

    def _features(self, net: Writer) -> str:
        """Layers are numbered as in torchvision's ``Sequential``."""
        x, width, index = "input", 3, 0
        for outputs, convolutions in zip(WIDTHS, self.convolutions, strict=True):
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


def _classifier(net: Writer, x: str, classes: int) -> None:
    x = net.node("Flatten", "flatten", [x], axis=1)
    x = net.linear("classifier.0", x, (HIDDEN, WIDTHS[-1] * GRID * GRID))
    x = net.relu("classifier.1", x)
    x = net.relu("classifier.4", net.linear("classifier.3", x, (HIDDEN, HIDDEN)))
    net.linear("classifier.6", x, (classes, HIDDEN), output="logits")


def adaptive_average(net: Writer, x: str, size: int) -> str:
    """Average (N, C, size, size) to (N, C, 7, 7) as PyTorch's AdaptiveAvgPool2d.

    Cell i is the mean of the pixels floor(i size / 7) to ceil((i + 1) size / 7), the end left out;
    on a map of one pixel that is a copy.
    """
    if size == GRID:
        return x
    if size == 1:
        return net.node("Expand", "avgpool", [x, net.indices("avgpool.shape", (1, 1, GRID, GRID))])
    if size % GRID == 0:
        side = [size // GRID] * 2
        return net.node("AveragePool", "avgpool", [x], kernel_shape=side, strides=side)
    for axis, word in ((2, "rows"), (3, "columns")):
        x = _average(net, x, f"avgpool.{word}", axis, size)
    return x


def _average(net: Writer, x: str, name: str, axis: int, size: int) -> str:
    cells = []
    for i in range(GRID):
        cell = f"{name}.{i}"
        start, end = i * size // GRID, -(-(i + 1) * size // GRID)
        edges = {"start": start, "end": end, "axis": axis}
        cut = [net.indices(f"{cell}.{key}", (value,)) for key, value in edges.items()]
        part = net.node("Slice", f"{cell}.cut", [x, *cut])
        cells.append(net.node("ReduceMean", cell, [part], axes=[axis], keepdims=1))
    return net.node("Concat", name, cells, axis=axis)
