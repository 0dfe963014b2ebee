"""Writes a network as ONNX layer by layer, with PyTorch's parameter names and initialisation.

Each method adds one layer called by its module path, and returns the name of its output tensor, which
is the same path.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Weights = npt.NDArray[np.float32]

OPSET = 17
IR_VERSION = 8
EPSILON = 1e-5
MOMENTUM = 0.9  # the share of the running value that is kept: 1 - PyTorch's 0.1


class Writer:
    """Collects the nodes and parameters of one network.

    Args:
        seed: of the weights, drawn in the order in which the layers are added.

    Attributes:
        random: the generator they are drawn from.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def conv(
        self,
        name: str,
        x: str,
        shape: tuple[int, int, int],
        *,
        stride: int = 1,
        pad: int = 0,
        group: int = 1,
        bias: bool = False,
        fan_out: bool = False,
    ) -> str:
        """Convolution; ``shape`` is (output channels, input channels, kernel side).

        An output channel reads ``input channels / group`` of them; a fan counts what is read. Weights
        are normal with deviation sqrt(2 / fan in), or fan out: He et al. 2015, arXiv
        1502.01852, eq. 10 and 14. A bias starts at 0.
        """
        outputs, inputs, kernel = shape
        fan = (outputs if fan_out else inputs) // group * kernel * kernel
        weight = self.normal((outputs, inputs // group, kernel, kernel), math.sqrt(2 / fan))
        parameters = [self.constant(f"{name}.weight", weight)]
        if bias:
            parameters.append(self.constant(f"{name}.bias", np.zeros(outputs, np.float32)))
        return self.node(
            "Conv",
            name,
            [x, *parameters],
            dilations=[1, 1],
            group=group,
            kernel_shape=[kernel, kernel],
            pads=[pad] * 4,
            strides=[stride, stride],
        )

    def norm(self, name: str, x: str, width: int) -> str:
        """BatchNormalization over ``width`` channels, in inference form, starting as the identity."""
        values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        parameters = [
            self.constant(f"{name}.{key}", np.full(width, value, np.float32)) for key, value in values.items()
        ]
        return self.node("BatchNormalization", name, [x, *parameters], epsilon=EPSILON, momentum=MOMENTUM)

    def relu(self, name: str, x: str) -> str:
        return self.node("Relu", name, [x])

    def relu6(self, name: str, x: str) -> str:
        """Relu that ends at 6."""
        bounds = [self.number(f"{name}.{key}", value) for key, value in (("min", 0), ("max", 6))]
        return self.node("Clip", name, [x, *bounds])

    def classifier(self, name: str, x: str, inputs: int, classes: int, output: str) -> str:
        """Global average, then a linear layer: :meth:`head`."""
        x = self.node("Flatten", "flatten", [self.node("GlobalAveragePool", "avgpool", [x])], axis=1)
        return self.head(name, x, (classes, inputs), output)

    def head(self, name: str, x: str, shape: tuple[int, int], output: str) -> str:
        """Linear layer that starts as PyTorch's does, uniform within 1 / sqrt(inputs), and with a bias
        of 0; ``shape`` is (outputs, inputs).
        """
        return self._gemm(name, x, self.uniform(shape, 1 / math.sqrt(shape[1])), output)

    def linear(
        self, name: str, x: str, shape: tuple[int, int], *, deviation: float = 0.01, output: str = ""
    ) -> str:
        """Linear layer; ``shape`` is (outputs, inputs). Weights are normal with ``deviation``, 0.01 in
        torchvision's VGG, and the bias starts at 0.
        """
        return self._gemm(name, x, self.normal(shape, deviation), output)

    def indices(self, name: str, values: Sequence[int]) -> str:
        """An int64 constant of shape (length,): where to cut, or a shape."""
        return self.constant(name, np.array(values, np.int64))

    def number(self, name: str, value: float) -> str:
        """A float32 constant of no dimension: part of the computation, no parameter."""
        return self.constant(name, np.array(value, np.float32))

    def constant(self, name: str, values: npt.NDArray[np.generic]) -> str:
        """A constant, its name returned."""
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def normal(self, shape: tuple[int, ...], deviation: float) -> Weights:
        """Normal random weights."""
        weights: Weights = self.random.standard_normal(shape, np.float32)
        weights *= np.float32(deviation)
        return weights

    def uniform(self, shape: tuple[int, ...], bound: float) -> Weights:
        """Random weights within ``bound`` of 0."""
        return self.random.uniform(-bound, bound, shape).astype(np.float32)

    def node(self, op: str, name: str, inputs: Sequence[str], *, output: str = "", **attributes: Any) -> str:
        """Any layer without parameters."""
        output = output or name
        self._nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def split(self, name: str, x: str, parts: Mapping[str, int], axis: int) -> list[str]:
        """Cut ``x`` along ``axis``; ``parts`` are the outputs' names and sizes."""
        inputs = [x, self.indices(f"{name}.sizes", list(parts.values()))]
        self._nodes.append(helper.make_node("Split", inputs, list(parts), name=name, axis=axis))
        return list(parts)

    def finish(self, name: str, image: Sequence[str | int], logits: Sequence[str | int]) -> onnx.ModelProto:
        """The ModelProto with input ``input`` and output ``logits`` of the given shapes, float32."""
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, image)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits)],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="onnxcomp")

    def _gemm(self, name: str, x: str, weight: Weights, output: str) -> str:
        parameters = [
            self.constant(f"{name}.weight", weight),
            self.constant(f"{name}.bias", np.zeros(len(weight), np.float32)),
        ]
        return self.node("Gemm", name, [x, *parameters], output=output, alpha=1.0, beta=1.0, transB=1)
