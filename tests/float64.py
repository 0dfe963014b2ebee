"""A float64 evaluator of the compression form in numpy: the reference for gradients.

It shares no code with ONNX Runtime. A BatchNormalization whose running statistics have the role
`statistic` uses the batch's, as in training. Q/DQ pairs and Round are a surrogate whose true derivative
is the straight-through estimator: at the first evaluation each records its rounding error and which
elements lie in range, and later evaluations add the same errors to the same elements. Finite differences
of it are then the gradient that training promises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.model import LABELS, Model, Role
from tests.float64_operators import OPERATORS

Values = dict[str, np.ndarray]


class Float64:
    """Evaluates a model on one batch for any values of its parameters."""

    def __init__(
        self, model: Model, images: np.ndarray, labels: np.ndarray, *, batch_statistics: bool = True
    ) -> None:
        self.graph = model.graph.copy()
        self.graph.toposort()
        roles = model.roles if batch_statistics else {}
        self.statistics = {name for name, role in roles.items() if role is Role.STATISTIC}
        self.inputs = {model.image.name: images.astype(np.float64), LABELS: labels}
        self.constants: Values = {
            name: _widen(t.values) for name, t in model.graph.tensors().items() if isinstance(t, gs.Constant)
        }
        self.frozen: dict[str, tuple[np.ndarray, Any]] = {}

    def __call__(self, parameters: Values, outputs: list[str]) -> list[np.ndarray]:
        """Values of ``outputs`` where ``parameters`` replace the model's own constants."""
        values: Values = {**self.constants, **self.inputs}
        values.update({name: np.asarray(v, np.float64) for name, v in parameters.items()})
        for node in self.graph.nodes:
            inputs = [values[t.name] if t.name else None for t in node.inputs]
            results = self._evaluate(node, inputs)
            results = results if isinstance(results, tuple) else (results,)
            values.update({t.name: v for t, v in zip(node.outputs, results, strict=False)})
        return [values[name] for name in outputs]

    def _evaluate(self, node: gs.Node, inputs: list[Any]) -> Any:
        if node.op == "QuantizeLinear":
            return self._fake_quant(node, *inputs)
        if node.op == "DequantizeLinear":  # its QuantizeLinear has done all the work
            return inputs[0]
        if node.op == "Round":
            return inputs[0] + self.frozen.setdefault(node.name, (np.round(inputs[0]) - inputs[0], None))[0]
        if node.op == "BatchNormalization":
            training = {tensor.name for tensor in node.inputs[3:]} <= self.statistics
            return _batch_norm(node.attrs, *inputs, training=training)
        return OPERATORS[node.op]({"num_outputs": len(node.outputs), **node.attrs}, *inputs)

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


def logits(model: Model, images: np.ndarray) -> np.ndarray:
    """What ``model`` answers, with running statistics and without labels: the same on every CPU."""
    evaluate = Float64(model, images, np.zeros(len(images), np.int64), batch_statistics=False)
    return evaluate({}, [model.logits.name])[0]


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
