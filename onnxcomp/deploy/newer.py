"""Operators that newer opsets brought, as what their specification says they are (onnx/docs/Operators.md)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxcomp.deploy.pieces import Given, Pieces


def gelu(write: Pieces) -> str:
    """Gelu-20, exact or by tanh (Hendrycks and Gimpel 2016, arXiv 1606.08415, section 2).

    In the order in which PyTorch's exporter wrote it before opset 20; TensorRT makes one kernel of it.
    """
    (x,) = write.node.inputs
    if write.node.attrs.get("approximate", "none") == "tanh":
        cube = write("Mul", "cube", write("Mul", "square", x, x), x)
        inner = write("Add", "inner", x, write("Mul", "small", cube, 0.044715))
        gate = write("Tanh", "tanh", write("Mul", "scaled", inner, math.sqrt(2 / math.pi)))
    else:
        gate = write("Erf", "erf", write("Div", "scaled", x, math.sqrt(2)))
    gated = write("Mul", "gated", x, write("Add", "gate", gate, 1.0))
    write.close(write("Mul", "halved", gated, 0.5))
    return ""


def mish(write: Pieces) -> str:
    """Mish-18 (Misra 2019, arXiv 1908.08681)."""
    (x,) = write.node.inputs
    write.close(write("Mul", "gated", x, write("Tanh", "tanh", write("Softplus", "softplus", x))))
    return ""


def group_norm(write: Pieces) -> str:
    """GroupNormalization-21 by InstanceNormalization, a group for a channel (arXiv 1803.08494, section 3)."""
    x, scale, bias = write.node.inputs
    if scale.shape is None:
        return "reads a scale of unknown size"
    groups = int(write.node.attrs["num_groups"])
    epsilon = float(write.node.attrs.get("epsilon", 1e-5))
    grouped = write("Reshape", "grouped", x, [0, groups, -1])
    unit = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    normal = write("InstanceNormalization", "normal", grouped, *unit, epsilon=epsilon)
    flat = write("Reshape", "ungrouped", normal, [0, scale.shape[0], -1])
    scaled = write("Mul", "scaled", flat, _column(write, "scale", scale))
    shifted = write("Add", "shifted", scaled, _column(write, "bias", bias))
    known = x.shape is not None and all(isinstance(size, int) for size in x.shape[1:])
    write.close(
        write("Reshape", "whole", shifted, [0, *x.shape[1:]] if known else write("Shape", "shape", x))
    )
    return ""


def _column(write: Pieces, what: str, vector: gs.Tensor) -> Given:
    if isinstance(vector, gs.Constant):
        values: NDArray[Any] = vector.values.reshape(-1, 1)
        return values
    return write("Reshape", what, vector, [-1, 1])
