"""Writes a network as ONNX layer by layer, with PyTorch's parameter names and initialisation.

Each method adds one layer called by its module path, and returns the name of its output tensor, which
is the same path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
EPSILON = 1e-5
MOMENTUM = 0.9  # the share of the running value that is kept: 1 - PyTorch's 0.1


class Writer:
    """Collects the nodes and parameters of one network.

    Args:
        seed: of the weights, drawn in the order in which the layers are added.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._parameters: list[onnx.TensorProto] = []

    def conv(
        self,
        name: str,
        x: str,
        shape: tuple[int, int, int],
        *,
        stride: int = 1,
        pad: int = 0,
        bias: bool = False,
        fan_out: bool = False,
    ) -> str:
        """Convolution; ``shape`` is (output channels, input channels, kernel side).

        Weights are normal with deviation sqrt(2 / fan in), or fan out: He et al. 2015, arXiv
        1502.01852, eq. 10 and 14. A bias starts at 0.
        """
        outputs, inputs, kernel = shape
        deviation = math.sqrt(2 / ((outputs if fan_out else inputs) * kernel * kernel))
        weight = self._random.standard_normal((outputs, inputs, kernel, kernel), np.float32)
        weight *= np.float32(deviation)
        parameters = [self._parameter(f"{name}.weight", weight)]
        if bias:
            parameters.append(self._parameter(f"{name}.bias", np.zeros(outputs, np.float32)))
        return self.node(
            "Conv",
            name,
            [x, *parameters],
            dilations=[1, 1],
            group=1,
            kernel_shape=[kernel, kernel],
            pads=[pad] * 4,
            strides=[stride, stride],
        )

    def norm(self, name: str, x: str, width: int) -> str:
        """BatchNormalization over ``width`` channels, in inference form, starting as the identity."""
        values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        parameters = [
            self._parameter(f"{name}.{key}", np.full(width, value, np.float32))
            for key, value in values.items()
        ]
        return self.node("BatchNormalization", name, [x, *parameters], epsilon=EPSILON, momentum=MOMENTUM)

    def relu(self, name: str, x: str) -> str:
        return self.node("Relu", name, [x])

    def classifier(self, name: str, x: str, inputs: int, classes: int, output: str) -> str:
        """Global average, then a linear layer; the weight (classes, inputs) starts as PyTorch's Linear
        does, uniform within 1 / sqrt(inputs), and the bias at 0.
        """
        x = self.node("Flatten", "flatten", [self.node("GlobalAveragePool", "avgpool", [x])], axis=1)
        bound = 1 / math.sqrt(inputs)
        weight = self._random.uniform(-bound, bound, (classes, inputs)).astype(np.float32)
        return self._gemm(name, x, weight, output)

    def linear(self, name: str, x: str, shape: tuple[int, int], *, output: str = "") -> str:
        """Linear layer; ``shape`` is (outputs, inputs). Weights are normal with deviation 0.01, as in
        torchvision's VGG, and the bias starts at 0.
        """
        weight = self._random.standard_normal(shape, np.float32)
        weight *= np.float32(0.01)
        return self._gemm(name, x, weight, output)

    def indices(self, name: str, values: Sequence[int]) -> str:
        """An int64 constant of shape (length,): where to cut, or a shape."""
        self._parameters.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def node(self, op: str, name: str, inputs: Sequence[str], *, output: str = "", **attributes: Any) -> str:
        """Any layer without parameters."""
        output = output or name
        self._nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def finish(self, name: str, image: Sequence[str | int], logits: Sequence[str | int]) -> onnx.ModelProto:
        """The ModelProto with input ``input`` and output ``logits`` of the given shapes, float32."""
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, image)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits)],
            self._parameters,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="onnxcomp")

    def _gemm(self, name: str, x: str, weight: npt.NDArray[np.float32], output: str) -> str:
        parameters = [
            self._parameter(f"{name}.weight", weight),
            self._parameter(f"{name}.bias", np.zeros(len(weight), np.float32)),
        ]
        return self.node("Gemm", name, [x, *parameters], output=output, alpha=1.0, beta=1.0, transB=1)

    def _parameter(self, name: str, values: npt.NDArray[np.float32]) -> str:
        self._parameters.append(numpy_helper.from_array(values, name))
        return name
