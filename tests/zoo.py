"""Small networks written the ways exporters write them, with random but sane weights from a seed.

Each function takes ``opset`` (13 to 21), ``batch`` (a name for a free batch, a number for a fixed one),
``classes``, ``size`` (height and width of the image), ``channels`` and ``seed``, and returns a ModelProto
whose input is ``input`` (batch, channels, size, size) float32 and whose output is ``output``
(batch, classes).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx
from onnx import numpy_helper

from tests.builder import Builder, bn_relu, conv, head, node_name, relu6
from tests.convnets import mobilenet_v3, vgg
from tests.vit import vit


def densenet(
    opset: int = 17,
    batch: str | int = "N",
    *,
    classes: int = 10,
    size: int = 16,
    channels: int = 3,
    seed: int = 0,
    layers: Sequence[int] = (2, 2),
    growth: int = 8,
) -> onnx.ModelProto:
    """Two dense blocks of BN-ReLU-Conv1x1-BN-ReLU-Conv3x3 with torchvision's names, BN kept."""
    net = Builder(seed)
    width = 2 * growth
    x = conv(net, "input", "features.conv0", channels, width)
    x = bn_relu(net, x, "features.norm0", width)
    for block, count in enumerate(layers, start=1):
        for layer in range(1, count + 1):
            prefix = f"features.denseblock{block}.denselayer{layer}"
            y = bn_relu(net, x, f"{prefix}.norm1", width)
            y = conv(net, y, f"{prefix}.conv1", width, 4 * growth, kernel=1)
            y = bn_relu(net, y, f"{prefix}.norm2", 4 * growth)
            y = conv(net, y, f"{prefix}.conv2", 4 * growth, growth)
            node = node_name(prefix, "Concat")
            x = net.node("Concat", [x, y], f"{node}_output_0", node, axis=1)
            width += growth
        if block < len(layers):
            prefix = f"features.transition{block}"
            x = bn_relu(net, x, f"{prefix}.norm", width)
            x = conv(net, x, f"{prefix}.conv", width, width // 2, kernel=1)
            width //= 2
            node = node_name(f"{prefix}.pool", "AveragePool")
            x = net.node("AveragePool", [x], f"{node}_output_0", node, kernel_shape=[2, 2], strides=[2, 2])
    x = bn_relu(net, x, "features.norm5", width)
    x = head(net, x, "classifier", width, classes)
    return net.model(x, opset, (batch, channels, size, size), classes)


def resnet(
    opset: int = 17,
    batch: str | int = "N",
    *,
    classes: int = 10,
    size: int = 16,
    channels: int = 3,
    seed: int = 0,
    widths: Sequence[int] = (12, 24),
) -> onnx.ModelProto:
    """Basic blocks as torch's exporter writes them in eval mode: BatchNormalization already folded.

    Weights are called ``onnx::Conv_123``; the first one is a Constant node; two convolutions share a bias
    through an Identity; an Identity sits on the data path.
    """
    net = Builder(seed)
    counter = iter(range(123, 10_000, 2))
    folded: dict[int, str] = {}

    def folded_conv(x: str, node: str, cin: int, cout: int, kernel: int = 3, stride: int = 1) -> str:
        number = next(counter)
        weight, bias = f"onnx::Conv_{number}", f"onnx::Conv_{number + 1}"
        values = net.he(cout, cin, kernel, kernel)
        if not folded:
            net.node("Constant", [], weight, "/Constant", value=numpy_helper.from_array(values))
        else:
            net.constant(weight, values)
        shared = folded.get(cout)
        if shared and node.endswith("layer1.0/conv2/Conv"):
            net.node("Identity", [shared], bias, f"Identity_{number}")
        else:
            net.constant(bias, net.small(cout))
        folded[cout] = bias
        pads = [kernel // 2] * 4
        attributes: dict[str, Any] = {"kernel_shape": [kernel] * 2, "pads": pads, "strides": [stride] * 2}
        attributes.update({"dilations": [1, 1], "group": 1})
        return net.node("Conv", [x, weight, bias], f"{node}_output_0", node, **attributes)

    def relu(x: str, node: str) -> str:
        return net.node("Relu", [x], f"{node}_output_0", node)

    x = relu(folded_conv("input", "/conv1/Conv", channels, widths[0]), "/relu/Relu")
    x = net.node("Identity", [x], "/drop/Identity_output_0", "/drop/Identity")
    width = widths[0]
    for stage, cout in enumerate(widths, start=1):
        block, stride = f"/layer{stage}/layer{stage}.0", 1 if cout == width else 2
        y = relu(folded_conv(x, f"{block}/conv1/Conv", width, cout, 3, stride), f"{block}/relu/Relu")
        y = folded_conv(y, f"{block}/conv2/Conv", cout, cout)
        if stride == 2:
            x = folded_conv(x, f"{block}/downsample/downsample.0/Conv", width, cout, 1, 2)
        x = net.node("Add", [y, x], f"{block}/Add_output_0", f"{block}/Add")
        x, width = relu(x, f"{block}/relu_1/Relu"), cout
    x = head(net, x, "fc", width, classes)
    return net.model(x, opset, (batch, channels, size, size), classes)


def mobilenet(
    opset: int = 17,
    batch: str | int = "N",
    *,
    classes: int = 10,
    size: int = 16,
    channels: int = 3,
    seed: int = 0,
    width: int = 8,
) -> onnx.ModelProto:
    """Inverted residuals: 1x1, depthwise 3x3 and 1x1 convolutions, Clip(0, 6) with Constant bounds."""
    net = Builder(seed)
    x = relu6(net, conv(net, "input", "features.0.0", channels, width, bias=True), "features.0.2")
    for index, (cout, stride) in enumerate(((width, 1), (2 * width, 2)), start=1):
        prefix, hidden = f"features.{index}.conv", 4 * width
        y = conv(net, x, f"{prefix}.0.0", width, hidden, kernel=1, bias=True)
        y = relu6(net, y, f"{prefix}.0.2")
        y = conv(net, y, f"{prefix}.1.0", hidden, hidden, stride=stride, group=hidden, bias=True)
        y = relu6(net, y, f"{prefix}.1.2")
        y = conv(net, y, f"{prefix}.2", hidden, cout, kernel=1, bias=True)
        if cout == width:
            node = node_name(f"features.{index}", "Add")
            y = net.node("Add", [x, y], f"{node}_output_0", node)
        x = y
    x = head(net, x, "classifier.1", 2 * width, classes)
    return net.model(x, opset, (batch, channels, size, size), classes)


def mlp(
    opset: int = 17,
    batch: str | int = "N",
    *,
    classes: int = 10,
    size: int = 16,
    channels: int = 3,
    seed: int = 0,
    hidden: int = 32,
) -> onnx.ModelProto:
    """Flatten, Gemm (transB=0), Relu, MatMul and Add; its nodes have no names."""
    net = Builder(seed)
    features = channels * size * size
    x = net.node("Flatten", ["input"], "flat", axis=1)
    w1 = net.constant("w1", net.he(hidden, features).T)
    x = net.node("Gemm", [x, w1, net.constant("b1", net.small(hidden))], "hidden")
    x = net.node("Relu", [x], "active")
    w2 = net.constant("w2", net.he(classes, hidden).T)
    x = net.node("MatMul", [x, w2], "product")
    x = net.node("Add", [x, net.constant("b2", net.small(classes))], "logits")
    return net.model(x, opset, (batch, channels, size, size), classes)


ALL: dict[str, Callable[..., onnx.ModelProto]] = {
    "densenet": densenet,
    "resnet": resnet,
    "mobilenet": mobilenet,
    "mlp": mlp,
}
# Trained by the tests of training; other parts compare with numbers that were worked out for ALL.
MORE: dict[str, Callable[..., onnx.ModelProto]] = {
    "vgg": vgg,
    "mobilenet_v3": mobilenet_v3,
    "vit": vit,
}
