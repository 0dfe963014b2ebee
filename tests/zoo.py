"""Small networks written the ways exporters write them, with random but sane weights from a seed.

Each function takes ``opset`` (13 to 21), ``batch`` (a name for a free batch, a number for a fixed one),
``classes``, ``size`` (height and width of the image), ``channels`` and ``seed``, and returns a ModelProto
whose input is ``input`` (batch, channels, size, size) float32 and whose output is ``output``
(batch, classes).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """Collects nodes and initializers; each method returns the name of its output tensor."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, values: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def he(self, *shape: int) -> np.ndarray:
        fan_in = int(np.prod(shape[1:]))
        return self.rng.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)

    def small(self, *shape: int) -> np.ndarray:
        return self.rng.normal(0, 0.1, shape).astype(np.float32)

    def node(self, op: str, inputs: Sequence[str], output: str, name: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        return output

    def model(self, logits: str, opset: int, shape: Sequence[str | int], classes: int) -> onnx.ModelProto:
        self.node("Identity", [logits], "output", "/head/Identity")
        graph = helper.make_graph(
            self.nodes,
            "main_graph",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, list(shape))],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [shape[0], classes])],
            self.initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="zoo")
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        return model


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
    x = _conv(net, "input", "features.conv0", channels, width)
    x = _bn_relu(net, x, "features.norm0", width)
    for block, count in enumerate(layers, start=1):
        for layer in range(1, count + 1):
            prefix = f"features.denseblock{block}.denselayer{layer}"
            y = _bn_relu(net, x, f"{prefix}.norm1", width)
            y = _conv(net, y, f"{prefix}.conv1", width, 4 * growth, kernel=1)
            y = _bn_relu(net, y, f"{prefix}.norm2", 4 * growth)
            y = _conv(net, y, f"{prefix}.conv2", 4 * growth, growth)
            node = _node_name(prefix, "Concat")
            x = net.node("Concat", [x, y], f"{node}_output_0", node, axis=1)
            width += growth
        if block < len(layers):
            prefix = f"features.transition{block}"
            x = _bn_relu(net, x, f"{prefix}.norm", width)
            x = _conv(net, x, f"{prefix}.conv", width, width // 2, kernel=1)
            width //= 2
            node = _node_name(f"{prefix}.pool", "AveragePool")
            x = net.node(
                "AveragePool", [x], f"{node}_output_0", node, kernel_shape=[2, 2], strides=[2, 2]
            )
    x = _bn_relu(net, x, "features.norm5", width)
    x = _head(net, x, "classifier", width, classes)
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
    folded: dict[str, str] = {}

    def conv(x: str, node: str, cin: int, cout: int, kernel: int = 3, stride: int = 1) -> str:
        number = next(counter)
        weight, bias = f"onnx::Conv_{number}", f"onnx::Conv_{number + 1}"
        values = net.he(cout, cin, kernel, kernel)
        if not folded:
            net.node("Constant", [], weight, "/Constant", value=numpy_helper.from_array(values))
        else:
            net.constant(weight, values)
        shared = folded.get(f"{cout}")
        if shared and node.endswith("layer1.0/conv2/Conv"):
            net.node("Identity", [shared], bias, f"Identity_{number}")
        else:
            net.constant(bias, net.small(cout))
        folded[f"{cout}"] = bias
        pads = [kernel // 2] * 4
        attributes = {
            "dilations": [1, 1], "group": 1, "kernel_shape": [kernel] * 2, "pads": pads, "strides": [stride] * 2,
        }  # fmt: skip
        return net.node("Conv", [x, weight, bias], f"{node}_output_0", node, **attributes)

    def relu(x: str, node: str) -> str:
        return net.node("Relu", [x], f"{node}_output_0", node)

    x = relu(conv("input", "/conv1/Conv", channels, widths[0]), "/relu/Relu")
    x = net.node("Identity", [x], "/drop/Identity_output_0", "/drop/Identity")
    width = widths[0]
    for stage, cout in enumerate(widths, start=1):
        block, stride = f"/layer{stage}/layer{stage}.0", 1 if cout == width else 2
        y = relu(conv(x, f"{block}/conv1/Conv", width, cout, 3, stride), f"{block}/relu/Relu")
        y = conv(y, f"{block}/conv2/Conv", cout, cout)
        if stride == 2:
            x = conv(x, f"{block}/downsample/downsample.0/Conv", width, cout, 1, 2)
        x = net.node("Add", [y, x], f"{block}/Add_output_0", f"{block}/Add")
        x, width = relu(x, f"{block}/relu_1/Relu"), cout
    x = _head(net, x, "fc", width, classes)
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
    x = _relu6(net, _conv(net, "input", "features.0.0", channels, width, bias=True), "features.0.2")
    for index, (cout, stride) in enumerate(((width, 1), (2 * width, 2)), start=1):
        prefix, hidden = f"features.{index}.conv", 4 * width
        y = _conv(net, x, f"{prefix}.0.0", width, hidden, kernel=1, bias=True)
        y = _relu6(net, y, f"{prefix}.0.2")
        y = _conv(net, y, f"{prefix}.1.0", hidden, hidden, stride=stride, group=hidden, bias=True)
        y = _relu6(net, y, f"{prefix}.1.2")
        y = _conv(net, y, f"{prefix}.2", hidden, cout, kernel=1, bias=True)
        if cout == width:
            node = _node_name(f"features.{index}", "Add")
            y = net.node("Add", [x, y], f"{node}_output_0", node)
        x = y
    x = _head(net, x, "classifier.1", 2 * width, classes)
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


def _node_name(module: str, op: str) -> str:
    return "/" + module.replace(".", "/") + "/" + op


def _conv(
    net: Builder,
    x: str,
    name: str,
    cin: int,
    cout: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    group: int = 1,
    bias: bool = False,
) -> str:
    inputs = [x, net.constant(f"{name}.weight", net.he(cout, cin // group, kernel, kernel))]
    if bias:
        inputs.append(net.constant(f"{name}.bias", net.small(cout)))
    node = _node_name(name, "Conv")
    pads = [kernel // 2] * 4
    attributes = {"group": group, "kernel_shape": [kernel] * 2, "pads": pads, "strides": [stride] * 2}
    return net.node("Conv", inputs, f"{node}_output_0", node, **attributes)


def _bn_relu(net: Builder, x: str, name: str, width: int) -> str:
    inputs = [
        x,
        net.constant(f"{name}.weight", net.rng.uniform(0.5, 1.5, width).astype(np.float32)),
        net.constant(f"{name}.bias", net.small(width)),
        net.constant(f"{name}.running_mean", net.small(width)),
        net.constant(f"{name}.running_var", net.rng.uniform(0.5, 1.5, width).astype(np.float32)),
    ]
    node = _node_name(name, "BatchNormalization")
    x = net.node("BatchNormalization", inputs, f"{node}_output_0", node, epsilon=1e-5)
    node = _node_name(name.replace("norm", "relu"), "Relu")
    return net.node("Relu", [x], f"{node}_output_0", node)


def _relu6(net: Builder, x: str, name: str) -> str:
    node = _node_name(name, "Clip")
    bounds = []
    for index, value in enumerate((0.0, 6.0)):
        constant = _node_name(name, "Constant" if index == 0 else "Constant_1")
        tensor = numpy_helper.from_array(np.float32(value).reshape(()))
        bounds.append(net.node("Constant", [], f"{constant}_output_0", constant, value=tensor))
    return net.node("Clip", [x, *bounds], f"{node}_output_0", node)


def _head(net: Builder, x: str, name: str, width: int, classes: int) -> str:
    x = net.node("GlobalAveragePool", [x], "/avgpool_output_0", "/avgpool/GlobalAveragePool")
    x = net.node("Flatten", [x], "/Flatten_output_0", "/Flatten", axis=1)
    inputs = [
        x,
        net.constant(f"{name}.weight", net.he(classes, width)),
        net.constant(f"{name}.bias", net.small(classes)),
    ]
    node = _node_name(name, "Gemm")
    return net.node("Gemm", inputs, f"{node}_output_0", node, alpha=1.0, beta=1.0, transB=1)
