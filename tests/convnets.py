"""Small relatives of VGG and of MobileNetV3 and EfficientNet, for :mod:`tests.zoo`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from tests.builder import Builder, batch_norm, bn_relu, conv, node_name


def vgg(
    opset: int = 17,
    batch: str | int = "N",
    *,
    classes: int = 10,
    size: int = 16,
    channels: int = 3,
    seed: int = 0,
    widths: Sequence[int] = (8, 12),
) -> onnx.ModelProto:
    """Conv with bias, BatchNormalization, ReLU and MaxPool; two Gemm with a Dropout on the flat image."""
    net = Builder(seed)
    x, width = "input", channels
    for index, cout in enumerate(widths):
        x = conv(net, x, f"features.{4 * index}", width, cout, bias=True)
        x = bn_relu(net, x, f"features.norm{4 * index + 1}", cout)
        node = node_name(f"features.{4 * index + 3}", "MaxPool")
        x = net.node("MaxPool", [x], f"{node}_output_0", node, kernel_shape=[2, 2], strides=[2, 2])
        width, size = cout, size // 2
    x = net.node("Flatten", [x], "/Flatten_output_0", "/Flatten", axis=1)
    x = _gemm(net, x, "classifier.0", width * size * size, 16)
    x = net.node("Relu", [x], "/classifier/1/Relu_output_0", "/classifier/1/Relu")
    x = net.node("Dropout", [x], "/classifier/2/Dropout_output_0", "/classifier/2/Dropout")
    x = _gemm(net, x, "classifier.3", 16, classes)
    return net.model(x, opset, (batch, channels, size * 2 ** len(widths), size * 2 ** len(widths)), classes)


def mobilenet_v3(
    opset: int = 17,
    batch: str | int = "N",
    *,
    classes: int = 10,
    size: int = 16,
    channels: int = 3,
    seed: int = 0,
    width: int = 8,
) -> onnx.ModelProto:
    """Inverted residuals with squeeze and excitation; HardSwish, and SiLU in the first block.

    HardSwish is one node from opset 14 on, HardSigmoid and Mul before.
    """
    net = Builder(seed)
    x = _conv_norm(net, "input", "features.0", channels, width)
    x = _hard_swish(net, x, "features.0.2", opset)
    for index, (cout, stride) in enumerate(((width, 1), (2 * width, 2)), start=1):
        prefix, hidden = f"features.{index}.block", 2 * width
        y = _conv_norm(net, x, f"{prefix}.0", width, hidden, kernel=1)
        y = _silu(net, y, f"{prefix}.0.2") if index == 1 else _hard_swish(net, y, f"{prefix}.0.2", opset)
        y = _conv_norm(net, y, f"{prefix}.1", hidden, hidden, stride=stride, group=hidden)
        y = _squeeze_excite(net, y, f"{prefix}.2", hidden)
        y = _conv_norm(net, y, f"{prefix}.3", hidden, cout, kernel=1)
        node = node_name(f"features.{index}", "Add")
        x = net.node("Add", [y, x], f"{node}_output_0", node) if stride == 1 else y
    x = net.node(
        "ReduceMean", [x, *_axes(net, opset)], "/avgpool_output_0", "/avgpool", **_axes_attribute(opset)
    )
    x = net.node("Flatten", [x], "/Flatten_output_0", "/Flatten", axis=1)
    x = _hard_swish(net, _gemm(net, x, "classifier.0", 2 * width, 16), "classifier.1", opset)
    return net.model(
        _gemm(net, x, "classifier.3", 16, classes), opset, (batch, channels, size, size), classes
    )


def _axes(net: Builder, opset: int) -> list[str]:
    return [net.constant("onnx::axes", np.array([2, 3], np.int64))] if opset >= 18 else []


def _axes_attribute(opset: int) -> dict[str, list[int]]:
    return {} if opset >= 18 else {"axes": [2, 3]}


def _gemm(net: Builder, x: str, name: str, inputs: int, outputs: int) -> str:
    weight = net.constant(f"{name}.weight", net.he(outputs, inputs))
    node = node_name(name, "Gemm")
    bias = net.constant(f"{name}.bias", net.small(outputs))
    return net.node("Gemm", [x, weight, bias], f"{node}_output_0", node, transB=1)


def _conv_norm(
    net: Builder, x: str, name: str, cin: int, cout: int, *, kernel: int = 3, stride: int = 1, group: int = 1
) -> str:
    x = conv(net, x, f"{name}.0", cin, cout, kernel=kernel, stride=stride, group=group)
    return batch_norm(net, x, f"{name}.1", cout)


def _squeeze_excite(net: Builder, x: str, name: str, width: int) -> str:
    node = node_name(name, "GlobalAveragePool")
    y = net.node("GlobalAveragePool", [x], f"{node}_output_0", node)
    y = conv(net, y, f"{name}.fc1", width, width // 2, kernel=1, bias=True)
    node = node_name(name, "Relu")
    y = net.node("Relu", [y], f"{node}_output_0", node)
    y = conv(net, y, f"{name}.fc2", width // 2, width, kernel=1, bias=True)
    node = node_name(name, "HardSigmoid")
    y = net.node("HardSigmoid", [y], f"{node}_output_0", node, alpha=1 / 6, beta=0.5)
    node = node_name(name, "Mul")
    return net.node("Mul", [y, x], f"{node}_output_0", node)


def _hard_swish(net: Builder, x: str, name: str, opset: int) -> str:
    if opset >= 14:
        node = node_name(name, "HardSwish")
        return net.node("HardSwish", [x], f"{node}_output_0", node)
    node = node_name(name, "HardSigmoid")
    gate = net.node("HardSigmoid", [x], f"{node}_output_0", node, alpha=1 / 6, beta=0.5)
    node = node_name(name, "Mul")
    return net.node("Mul", [x, gate], f"{node}_output_0", node)


def _silu(net: Builder, x: str, name: str) -> str:
    node = node_name(name, "Sigmoid")
    gate = net.node("Sigmoid", [x], f"{node}_output_0", node)
    node = node_name(name, "Mul")
    return net.node("Mul", [x, gate], f"{node}_output_0", node)
