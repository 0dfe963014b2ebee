"""Writes a ModelProto node by node: what the networks of :mod:`tests.zoo` share."""

from __future__ import annotations

from collections.abc import Sequence
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
        self.initializers.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
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


def node_name(module: str, op: str) -> str:
    return "/" + module.replace(".", "/") + "/" + op


def conv(
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
    node = node_name(name, "Conv")
    pads = [kernel // 2] * 4
    attributes = {"group": group, "kernel_shape": [kernel] * 2, "pads": pads, "strides": [stride] * 2}
    return net.node("Conv", inputs, f"{node}_output_0", node, **attributes)


def batch_norm(net: Builder, x: str, name: str, width: int) -> str:
    inputs = [
        x,
        net.constant(f"{name}.weight", net.rng.uniform(0.5, 1.5, width).astype(np.float32)),
        net.constant(f"{name}.bias", net.small(width)),
        net.constant(f"{name}.running_mean", net.small(width)),
        net.constant(f"{name}.running_var", net.rng.uniform(0.5, 1.5, width).astype(np.float32)),
    ]
    node = node_name(name, "BatchNormalization")
    return net.node("BatchNormalization", inputs, f"{node}_output_0", node, epsilon=1e-5)


def bn_relu(net: Builder, x: str, name: str, width: int) -> str:
    x = batch_norm(net, x, name, width)
    node = node_name(name.replace("norm", "relu"), "Relu")
    return net.node("Relu", [x], f"{node}_output_0", node)


def relu6(net: Builder, x: str, name: str) -> str:
    node = node_name(name, "Clip")
    bounds = []
    for index, value in enumerate((0.0, 6.0)):
        constant = node_name(name, "Constant" if index == 0 else "Constant_1")
        tensor = numpy_helper.from_array(np.asarray(value, np.float32))
        bounds.append(net.node("Constant", [], f"{constant}_output_0", constant, value=tensor))
    return net.node("Clip", [x, *bounds], f"{node}_output_0", node)


def head(net: Builder, x: str, name: str, width: int, classes: int) -> str:
    x = net.node("GlobalAveragePool", [x], "/avgpool_output_0", "/avgpool/GlobalAveragePool")
    x = net.node("Flatten", [x], "/Flatten_output_0", "/Flatten", axis=1)
    inputs = [
        x,
        net.constant(f"{name}.weight", net.he(classes, width)),
        net.constant(f"{name}.bias", net.small(classes)),
    ]
    node = node_name(name, "Gemm")
    return net.node("Gemm", inputs, f"{node}_output_0", node, alpha=1.0, beta=1.0, transB=1)
