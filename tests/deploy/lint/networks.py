"""A small network that every rule of lint is content with, to be broken in one place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxcomp.deploy.lint import Finding, lint
from onnxcomp.deploy.targets import get_target

CHANNELS, SIZE, CLASSES = 16, 8, 10


class Net:
    """Nodes and initializers by name, in order; a node gives the tensor of its own name."""

    def __init__(self, opset: int = 17) -> None:
        self.opset = opset
        self.nodes: dict[str, onnx.NodeProto] = {}
        self.constants: dict[str, onnx.TensorProto] = {}
        self.rng = np.random.default_rng(0)
        self.inputs: list[tuple[str, Sequence[int | str]]] = [("x", ("N", CHANNELS, SIZE, SIZE))]
        self.output = ""
        self.domains: list[str] = []

    def node(self, op: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        self.nodes[name] = helper.make_node(op, list(inputs), [name], name=name, **attributes)
        return name

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(values, dtype), name)
        return name

    def pair(
        self, x: str, scale: Any = 0.1, axis: int | None = None, dtype: Any = np.int8, zero: int = 0
    ) -> str:
        """``x -> x.q -> x.dq`` with constants ``x.scale`` and ``x.zero``."""
        scales = np.asarray(scale, np.float32)
        parameters = [
            self.constant(f"{x}.scale", scales),
            self.constant(f"{x}.zero", np.full(scales.shape, zero), dtype),
        ]
        attributes = {} if axis is None else {"axis": axis}
        self.node("QuantizeLinear", f"{x}.q", [x, *parameters], **attributes)
        return self.node("DequantizeLinear", f"{x}.dq", [f"{x}.q", *parameters], **attributes)

    def conv(self, x: str, name: str, cin: int = CHANNELS, cout: int = CHANNELS, **attributes: Any) -> str:
        """A convolution whose weight ``name.w`` is quantised per channel, with a bias ``name.b``."""
        shape = (cout, cin, 3, 3)
        weight = self.pair(
            self.constant(f"{name}.w", self.rng.normal(size=shape)), np.full(cout, 0.02), axis=0
        )
        bias = self.constant(f"{name}.b", self.rng.normal(size=cout))
        return self.node("Conv", name, [x, weight, bias], pads=[1, 1, 1, 1], **attributes)

    def gemm(self, x: str, name: str) -> str:
        weight = self.constant(f"{name}.w", self.rng.normal(size=(CLASSES, CHANNELS)))
        weight = self.pair(weight, np.full(CLASSES, 0.02), axis=0)
        bias = self.constant(f"{name}.b", self.rng.normal(size=CLASSES))
        return self.node("Gemm", name, [x, weight, bias], transB=1)

    def set(self, name: str, **attributes: Any) -> None:
        """Change attributes of a node; None takes one away."""
        node = self.nodes[name]
        kept = [entry for entry in node.attribute if entry.name not in attributes]
        del node.attribute[:]
        node.attribute.extend(kept)
        for key, value in attributes.items():
            if value is not None:
                node.attribute.append(helper.make_attribute(key, value))

    def rewire(self, old: str, new: str, *, but: Sequence[str] = ()) -> None:
        """Let every node but those named read ``new`` instead of ``old``."""
        for name, node in self.nodes.items():
            for index, entry in enumerate(node.input):
                if entry == old and name not in but:
                    node.input[index] = new

    def insert(self, op: str, name: str, behind: str, inputs: Sequence[str] = (), **attributes: Any) -> None:
        """Put an operator behind a tensor; it stands there in the order of the nodes too."""
        self.rewire(behind, name)
        nodes, self.nodes = self.nodes, {}
        for key, node in nodes.items():
            self.nodes[key] = node
            if key == behind:
                self.node(op, name, [behind, *inputs], **attributes)
        if self.output == behind:
            self.output = name

    def remove_pair(self, x: str) -> None:
        """Take ``x.q`` and ``x.dq`` out."""
        self.rewire(f"{x}.dq", x)
        del self.nodes[f"{x}.q"], self.nodes[f"{x}.dq"]

    def proto(self) -> onnx.ModelProto:
        output = self.output or list(self.nodes)[-1]
        graph = helper.make_graph(
            list(self.nodes.values()),
            "net",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in self.inputs],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            list(self.constants.values()),
        )
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(d, 1) for d in self.domains)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def save(self, folder: Path) -> Path:
        path = folder / "net.onnx"
        onnx.save(self.proto(), path)
        return path


def good(opset: int = 17) -> Net:
    """Convolution, Relu, pooling, residual Add, Concat and Gemm, quantised as TensorRT wants."""
    net = Net(opset)
    x = net.conv(net.pair("x"), "conv1")
    x = net.pair(net.node("Relu", "relu1", [x]))
    y = net.node("Relu", "relu2", [net.node("Add", "add", [net.conv(x, "conv2"), x])])
    y = net.pair(y, 0.2)
    z = net.pair(net.node("Relu", "relu3", [net.conv(x, "conv3")]), 0.2)
    y = net.node("Concat", "concat", [y, z], axis=1)
    y = net.node("Relu", "relu4", [net.conv(y, "conv4", cin=2 * CHANNELS)])
    y = net.node("MaxPool", "max", [net.pair(y)], kernel_shape=[2, 2], strides=[2, 2])
    y = net.pair(net.node("GlobalAveragePool", "average", [y]), 0.05)
    net.output = net.gemm(net.node("Flatten", "flat", [y]), "gemm")
    return net


def plain(opset: int = 17) -> Net:
    """The same without Q/DQ, as for a DLA."""
    net = good(opset)
    for name in [name.removesuffix(".q") for name in net.nodes if name.endswith(".q")]:
        net.remove_pair(name)
        del net.constants[f"{name}.scale"], net.constants[f"{name}.zero"]
    del net.nodes["average"]
    flat = net.nodes.pop("flat")
    gemm = net.nodes.pop("gemm")
    net.node("AveragePool", "average", ["max"], kernel_shape=[4, 4])
    net.nodes |= {"flat": flat, "gemm": gemm}
    net.inputs = [("x", (1, CHANNELS, SIZE, SIZE))]
    return net


def findings(net: Net, target: str, folder: Path, *, run: bool = False) -> tuple[Finding, ...]:
    return lint(net.save(folder), get_target(target), run=run).findings


def nodes(found: Sequence[Finding], rule: str) -> list[str]:
    """Names of the nodes that broke ``rule``, sorted."""
    return sorted(one.node for one in found if one.rule == rule)
