"""A float64 evaluator of the compression form in numpy: the reference for gradients.

It shares no code with ONNX Runtime. The student's BatchNormalization uses the batch's statistics, as
in training. Q/DQ pairs are a surrogate whose true derivative is the straight-through estimator: at the
first evaluation each pair records its rounding error and which elements lie in range, and later
evaluations add the same errors to the same elements. Finite differences of it are then the gradient
that training promises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.model import LABELS, Model

Values = dict[str, np.ndarray]


class Float64:
    """Evaluates a model on one batch for any values of its parameters."""

    def __init__(
        self, model: Model, images: np.ndarray, labels: np.ndarray, *, batch_statistics: bool = True
    ) -> None:
        self.graph = model.graph.copy()
        self.graph.toposort()
        self.batch_statistics = batch_statistics
        self.inputs = {model.image.name: images.astype(np.float64), LABELS: labels}
        self.constants: Values = {
            name: _widen(t.values) for name, t in model.graph.tensors().items() if isinstance(t, gs.Constant)
        }
        self.frozen: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, parameters: Values, outputs: list[str]) -> list[np.ndarray]:
        """Values of ``outputs`` where ``parameters`` replace the model's own constants."""
        values: Values = {**self.constants, **self.inputs}
        values.update({name: np.asarray(v, np.float64) for name, v in parameters.items()})
        for node in self.graph.nodes:
            inputs = [values[t.name] if t.name else None for t in node.inputs]
            values[node.outputs[0].name] = self._evaluate(node, inputs)
        return [values[name] for name in outputs]

    def _evaluate(self, node: gs.Node, inputs: list[Any]) -> Any:
        if node.op == "QuantizeLinear":
            return self._fake_quant(node, *inputs)
        if node.op == "DequantizeLinear":  # its QuantizeLinear has done all the work
            return inputs[0]
        if node.op == "BatchNormalization":
            training = self.batch_statistics and graphs.is_student(node)
            return _batch_norm(node.attrs, *inputs, training=training)
        return OPERATORS[node.op](node.attrs, *inputs)

    def _fake_quant(self, node: gs.Node, x: np.ndarray, scale: np.ndarray, zero: Any) -> np.ndarray:
        if scale.ndim:
            shape = [1] * x.ndim
            shape[node.attrs.get("axis", 1)] = -1
            scale = scale.reshape(shape)
        if node.name not in self.frozen:
            rounded = np.round(x / scale)
            self.frozen[node.name] = (rounded - x / scale, (rounded >= -128) & (rounded <= 127))
        error, inside = self.frozen[node.name]
        return scale * np.where(inside, x / scale + error, np.clip(np.sign(x) * 1e9, -128, 127))


def _widen(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _batch_norm(
    attrs: dict[str, Any],
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    training: bool,
) -> np.ndarray:
    axes = (0, *range(2, x.ndim))
    if training:
        mean, variance = x.mean(axes), x.var(axes)
    shape = (1, -1) + (1,) * (x.ndim - 2)
    factor = scale / np.sqrt(variance + attrs.get("epsilon", 1e-5))
    return (x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)


def _windows(attrs: dict[str, Any], x: np.ndarray, kernel: Any, fill: float) -> np.ndarray:
    """(N, C, H, W) -> (N, C, rows, columns, kernel height, kernel width)."""
    top, left, bottom, right = attrs.get("pads", [0] * 4)
    (dy, dx), (sy, sx) = attrs.get("dilations", [1, 1]), attrs.get("strides", [1, 1])
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    reach = ((kernel[0] - 1) * dy + 1, (kernel[1] - 1) * dx + 1)
    return np.lib.stride_tricks.sliding_window_view(x, reach, (2, 3))[:, :, ::sy, ::sx, ::dy, ::dx]


def _conv(attrs: dict[str, Any], x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    groups = attrs.get("group", 1)
    windows = _windows(attrs, x, w.shape[2:], 0)
    parts = [
        np.einsum("nchwij,ocij->nohw", part, weight, optimize=True)
        for part, weight in zip(np.split(windows, groups, 1), np.split(w, groups, 0), strict=True)
    ]
    y = np.concatenate(parts, 1)
    return y if b is None else y + b.reshape(1, -1, 1, 1)


def _average_pool(attrs: dict[str, Any], x: np.ndarray) -> np.ndarray:
    kernel = attrs["kernel_shape"]
    total = _windows(attrs, x, kernel, 0).sum((4, 5))
    if attrs.get("count_include_pad", 0):
        return total / np.prod(kernel)
    return total / _windows(attrs, np.ones_like(x), kernel, 0).sum((4, 5))


def _gemm(attrs: dict[str, Any], a: np.ndarray, b: np.ndarray, c: Any = 0.0) -> np.ndarray:
    a = a.T if attrs.get("transA", 0) else a
    b = b.T if attrs.get("transB", 0) else b
    return attrs.get("alpha", 1.0) * (a @ b) + attrs.get("beta", 1.0) * c


def _log_softmax(attrs: dict[str, Any], x: np.ndarray) -> np.ndarray:
    axis = attrs.get("axis", -1)
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def _cross_entropy(attrs: dict[str, Any], x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -_log_softmax({"axis": 1}, x)[np.arange(len(labels)), labels].mean()


def _reduce(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def reduce(attrs: dict[str, Any], x: np.ndarray, axes: np.ndarray | None = None) -> np.ndarray:
        chosen = attrs.get("axes") if axes is None else axes
        keep = bool(attrs.get("keepdims", 1))
        return function(x, axis=None if chosen is None else tuple(chosen), keepdims=keep)

    return reduce


def _hard_sigmoid(attrs: dict[str, Any], x: np.ndarray) -> np.ndarray:
    return np.clip(attrs.get("alpha", 0.2) * x + attrs.get("beta", 0.5), 0, 1)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": lambda attrs, a, b: a + b,
    "AveragePool": _average_pool,
    "Cast": lambda attrs, x: x.astype(np.float64),
    "Clip": lambda attrs, x, low, high: np.clip(x, low, high),
    "Concat": lambda attrs, *x: np.concatenate(x, attrs["axis"]),
    "Conv": _conv,
    "Div": lambda attrs, a, b: a / b,
    "Exp": lambda attrs, x: np.exp(x),
    "Flatten": lambda attrs, x: x.reshape(len(x), -1),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda attrs, x: x.mean((2, 3), keepdims=True),
    "Greater": lambda attrs, a, b: a > b,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda attrs, x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Identity": lambda attrs, x: x,
    "LogSoftmax": _log_softmax,
    "MatMul": lambda attrs, a, b: a @ b,
    "MaxPool": lambda attrs, x: _windows(attrs, x, attrs["kernel_shape"], -np.inf).max((4, 5)),
    "Mean": lambda attrs, *x: sum(x) / len(x),
    "Mul": lambda attrs, a, b: a * b,
    "ReduceMean": _reduce(np.mean),
    "ReduceSum": _reduce(np.sum),
    "Relu": lambda attrs, x: np.maximum(x, 0),
    "Reshape": lambda attrs, x, shape: x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(shape)]),
    "SoftmaxCrossEntropyLoss": _cross_entropy,
    "Sub": lambda attrs, a, b: a - b,
    "Sum": lambda attrs, *x: sum(x),
    "Transpose": lambda attrs, x: x.transpose(attrs["perm"]),
}
