"""Forward definitions of ONNX operators in numpy, in whatever precision their inputs have.

Each takes the node's attributes and its inputs, None for an absent one, and returns its output, or a
tuple where there are several. Written from the operators' specification, without any runtime's code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray
Attrs = dict[str, Any]


def _spatial_pads(attrs: Attrs, size: tuple[int, ...], reach: list[int], strides: list[int]) -> list[Any]:
    """(before, after) per spatial axis: pads, auto_pad, and what ceil_mode adds behind the image."""
    pads = attrs.get("pads", [0] * 2 * len(size))
    mode = attrs.get("auto_pad", "NOTSET")
    found = []
    for axis, (n, r, s) in enumerate(zip(size, reach, strides, strict=True)):
        before, after = pads[axis], pads[axis + len(size)]
        if mode.startswith("SAME"):
            total = max((math.ceil(n / s) - 1) * s + r - n, 0)
            before = total // 2 if mode == "SAME_UPPER" else total - total // 2
            after = total - before
        extra = 0
        if attrs.get("ceil_mode", 0):
            count = math.ceil((n + before + after - r) / s) + 1
            if (count - 1) * s >= n + before:  # a window may not start in the padding behind
                count -= 1
            extra = max((count - 1) * s + r - n - before - after, 0)
        found.append((before, after, extra))
    return found


def _windows(attrs: Attrs, x: Array, kernel: Any, fill: float, behind: float | None = None) -> Array:
    """(N, C, H, W) -> (N, C, rows, columns, kernel height, kernel width), or the like of other ranks.

    ``fill`` stands for padding, ``behind`` for what lies beyond it, where ceil_mode reaches.
    """
    dilations, strides = (list(attrs.get(word, [1] * len(kernel))) for word in ("dilations", "strides"))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = _spatial_pads(attrs, x.shape[2:], reach, strides)
    x = np.pad(x, [(0, 0), (0, 0), *(p[:2] for p in pads)], constant_values=fill)
    edge = fill if behind is None else behind
    x = np.pad(x, [(0, 0), (0, 0), *((0, p[2]) for p in pads)], constant_values=edge)
    steps = tuple(slice(None, None, step) for step in [1, 1, *strides, *dilations])
    return np.lib.stride_tricks.sliding_window_view(x, reach, tuple(range(2, x.ndim)))[steps]


def _conv(attrs: Attrs, x: Array, w: Array, b: Array | None = None) -> Array:
    groups = attrs.get("group", 1)
    windows, rank = _windows(attrs, x, w.shape[2:], 0), x.ndim - 2
    summed = [1, *range(2 + rank, 2 + 2 * rank)], [1, *range(2, 2 + rank)]
    parts = [
        np.moveaxis(np.tensordot(part, weight, summed), -1, 1)
        for part, weight in zip(np.split(windows, groups, 1), np.split(w, groups, 0), strict=True)
    ]
    y = np.concatenate(parts, 1)
    return y if b is None else y + b.reshape(-1, *[1] * rank)


def _average_pool(attrs: Attrs, x: Array) -> Array:
    kernel = attrs["kernel_shape"]
    total = _windows(attrs, x, kernel, 0)
    inside = tuple(range(x.ndim, total.ndim))
    counted = float(attrs.get("count_include_pad", 0))
    return total.sum(inside) / _windows(attrs, np.ones_like(x), kernel, counted, 0).sum(inside)


def _max_pool(attrs: Attrs, x: Array) -> Array:
    windows = _windows(attrs, x, attrs["kernel_shape"], -np.inf)
    return windows.max(tuple(range(x.ndim, windows.ndim)))


def _gemm(attrs: Attrs, a: Array, b: Array, c: Any = 0.0) -> Array:
    a = a.T if attrs.get("transA", 0) else a
    b = b.T if attrs.get("transB", 0) else b
    return attrs.get("alpha", 1.0) * (a @ b) + attrs.get("beta", 1.0) * c


def _log_softmax(attrs: Attrs, x: Array) -> Array:
    axis = attrs.get("axis", -1)
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def _cross_entropy(attrs: Attrs, x: Array, labels: Array) -> Array:
    return -_log_softmax({"axis": 1}, x)[np.arange(len(labels)), labels].mean()


def _reduce(function: Callable[..., Array]) -> Callable[..., Array]:
    def reduce(attrs: Attrs, x: Array, axes: Array | None = None) -> Array:
        chosen = attrs.get("axes") if axes is None else axes
        if chosen is None or len(chosen) == 0:
            if attrs.get("noop_with_empty_axes", 0):
                return x
            chosen = range(x.ndim)
        return function(x, axis=tuple(int(a) for a in chosen), keepdims=bool(attrs.get("keepdims", 1)))

    return reduce


def _log_sum_exp(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    top = x.max(axis, keepdims=True)
    y = np.log(np.exp(x - top).sum(axis, keepdims=True)) + top
    return y if keepdims else y.squeeze(axis)


def _normalise(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def _layer_norm(attrs: Attrs, x: Array, scale: Array, bias: Any = None) -> Array:
    axes = tuple(range(attrs.get("axis", -1) % x.ndim, x.ndim))
    y = _normalise(x, axes, attrs.get("epsilon", 1e-5)) * scale
    return y if bias is None else y + bias


def _instance_norm(attrs: Attrs, x: Array, scale: Array, bias: Array) -> Array:
    shape = (-1,) + (1,) * (x.ndim - 2)
    y = _normalise(x, tuple(range(2, x.ndim)), attrs.get("epsilon", 1e-5))
    return y * scale.reshape(shape) + bias.reshape(shape)


def _group_norm(attrs: Attrs, x: Array, scale: Array, bias: Array) -> Array:
    parts = x.reshape(len(x), attrs["num_groups"], -1)
    y = _normalise(parts, (2,), attrs.get("epsilon", 1e-5)).reshape(x.shape)
    shape = (-1,) + (1,) * (x.ndim - 2)
    return y * scale.reshape(shape) + bias.reshape(shape)


def _softplus(x: Array) -> Array:
    return np.logaddexp(x, 0)


def _selu(attrs: Attrs, x: Array) -> Array:
    alpha = attrs.get("alpha", 1.67326319217681884765625)
    gamma = attrs.get("gamma", 1.05070102214813232421875)
    return gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def _gelu(attrs: Attrs, x: Array) -> Array:
    if attrs.get("approximate", "none") == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def _reshape(attrs: Attrs, x: Array, shape: Array) -> Array:
    keep = not attrs.get("allowzero", 0)
    return x.reshape([x.shape[i] if n == 0 and keep else n for i, n in enumerate(shape)])


def _flatten(attrs: Attrs, x: Array) -> Array:
    axis = attrs.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _squeeze(attrs: Attrs, x: Array, axes: Array | None = None) -> Array:
    return x.squeeze() if axes is None else x.squeeze(tuple(int(a) for a in axes))


def _unsqueeze(attrs: Attrs, x: Array, axes: Array) -> Array:
    return np.expand_dims(x, tuple(int(a) for a in axes))


def _slice(attrs: Attrs, x: Array, starts: Array, ends: Array, axes: Any = None, steps: Any = None) -> Array:
    index = [slice(None)] * x.ndim
    chosen = range(len(starts)) if axes is None else axes
    for i, axis in enumerate(chosen):
        size, step = x.shape[axis], 1 if steps is None else int(steps[i])
        start, end = int(starts[i]), int(ends[i])
        start, end = (n + size if n < 0 else n for n in (start, end))
        low = -1 if step < 0 else 0
        start = min(max(start, 0), size - 1 if step < 0 else size)
        end = min(max(end, low), size)
        index[axis] = slice(start, None if end < 0 else end, step)
    return x[tuple(index)]


def _split(attrs: Attrs, x: Array, split: Array | None = None) -> tuple[Array, ...]:
    axis = attrs.get("axis", 0)
    size = x.shape[axis]
    if split is None:
        part = math.ceil(size / attrs["num_outputs"])
        split = np.array([part] * (attrs["num_outputs"] - 1))
        split = np.append(split, size - split.sum())
    return tuple(np.split(x, np.cumsum(split)[:-1], axis))


def _pad(attrs: Attrs, x: Array, pads: Array, value: Any = None, axes: Any = None) -> Array:
    width = [(0, 0)] * x.ndim
    chosen = list(range(x.ndim)) if axes is None else [int(a) for a in axes]
    for i, axis in enumerate(chosen):
        width[axis] = (int(pads[i]), int(pads[i + len(chosen)]))
    cut = tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(width, x.shape, strict=True))
    grown = [(max(a, 0), max(b, 0)) for a, b in width]
    mode = attrs.get("mode", "constant")
    if mode == "constant":
        return np.pad(x[cut], grown, constant_values=0.0 if value is None else float(value))
    return np.pad(x[cut], grown, mode=mode)


def _top_k(attrs: Attrs, x: Array, k: Array) -> tuple[Array, Array]:
    axis, count = attrs.get("axis", -1), int(k.reshape(()))
    order = np.argsort(-x if attrs.get("largest", 1) else x, axis, kind="stable")
    index = np.take(order, range(count), axis)
    return np.take_along_axis(x, index, axis), index


def _gather_nd(attrs: Attrs, x: Array, indices: Array) -> Array:
    batch = attrs.get("batch_dims", 0)
    if batch:
        inner = {"batch_dims": batch - 1}
        return np.stack([_gather_nd(inner, a, i) for a, i in zip(x, indices, strict=True)])
    return x[tuple(np.moveaxis(indices, -1, 0))]


def _scatter_nd(attrs: Attrs, x: Array, indices: Array, updates: Array) -> Array:
    y = x.copy()
    y[tuple(np.moveaxis(indices, -1, 0))] = updates
    return y


def _scatter_elements(attrs: Attrs, x: Array, indices: Array, updates: Array) -> Array:
    y = x.copy()
    np.put_along_axis(y, indices, updates, attrs.get("axis", 0))
    return y


def _clip(attrs: Attrs, x: Array, low: Any = None, high: Any = None) -> Array:
    return np.clip(x, -np.inf if low is None else low, np.inf if high is None else high)


def _cast(attrs: Attrs, x: Array) -> Array:
    floating = attrs["to"] in (1, 10, 11, 16, np.float32, np.float16, np.float64)
    return x.astype(np.float64 if floating else np.int64)


def _axis_one(function: Callable[..., Array]) -> Callable[..., Array]:
    """A reduction over the spatial axes that keeps them."""
    return lambda attrs, x: function(x, axis=tuple(range(2, x.ndim)), keepdims=True)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Abs": lambda attrs, x: np.abs(x),
    "Add": lambda attrs, a, b: a + b,
    "AveragePool": _average_pool,
    "Cast": _cast,
    "Celu": lambda attrs, x: (
        np.maximum(x, 0) + np.minimum(0, (a := attrs.get("alpha", 1.0)) * np.expm1(np.minimum(x, 0) / a))
    ),
    "Clip": _clip,
    "Concat": lambda attrs, *x: np.concatenate(x, attrs["axis"]),
    "ConstantOfShape": lambda attrs, shape: np.full(shape, attrs["value"].values.item()),
    "Conv": _conv,
    "Cos": lambda attrs, x: np.cos(x),
    "Div": lambda attrs, a, b: a / b,
    "Einsum": lambda attrs, *x: np.einsum(attrs["equation"], *x),
    "Elu": lambda attrs, x: np.where(x > 0, x, attrs.get("alpha", 1.0) * np.expm1(np.minimum(x, 0))),
    "Equal": lambda attrs, a, b: a == b,
    "Erf": lambda attrs, x: _erf(x),
    "Exp": lambda attrs, x: np.exp(x),
    "Expand": lambda attrs, x, shape: x * np.ones(shape),
    "Flatten": _flatten,
    "Gather": lambda attrs, x, indices: np.take(x, indices, attrs.get("axis", 0)),
    "GatherElements": lambda attrs, x, indices: np.take_along_axis(x, indices, attrs.get("axis", 0)),
    "GatherND": _gather_nd,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _axis_one(np.mean),
    "GlobalMaxPool": _axis_one(np.max),
    "Greater": lambda attrs, a, b: a > b,
    "GroupNormalization": _group_norm,
    "HardSigmoid": lambda attrs, x: np.clip(attrs.get("alpha", 0.2) * x + attrs.get("beta", 0.5), 0, 1),
    "HardSwish": lambda attrs, x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Identity": lambda attrs, x: x,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda attrs, x: np.where(x >= 0, x, attrs.get("alpha", 0.01) * x),
    "Log": lambda attrs, x: np.log(x),
    "LogSoftmax": _log_softmax,
    "MatMul": lambda attrs, a, b: a @ b,
    "Max": lambda attrs, *x: np.maximum.reduce(np.broadcast_arrays(*x)),
    "MaxPool": _max_pool,
    "Mean": lambda attrs, *x: sum(x) / len(x),
    "Min": lambda attrs, *x: np.minimum.reduce(np.broadcast_arrays(*x)),
    "Mish": lambda attrs, x: x * np.tanh(_softplus(x)),
    "Mul": lambda attrs, a, b: a * b,
    "Neg": lambda attrs, x: -x,
    "PRelu": lambda attrs, x, slope: np.where(x > 0, x, slope * x),
    "Pad": _pad,
    "Pow": lambda attrs, a, b: a**b,
    "Reciprocal": lambda attrs, x: 1 / x,
    "ReduceL1": _reduce(lambda x, axis, keepdims: np.abs(x).sum(axis, keepdims=keepdims)),
    "ReduceL2": _reduce(lambda x, axis, keepdims: np.sqrt((x**2).sum(axis, keepdims=keepdims))),
    "ReduceLogSum": _reduce(lambda x, axis, keepdims: np.log(x.sum(axis, keepdims=keepdims))),
    "ReduceLogSumExp": _reduce(_log_sum_exp),
    "ReduceMax": _reduce(np.max),
    "ReduceMean": _reduce(np.mean),
    "ReduceMin": _reduce(np.min),
    "ReduceSum": _reduce(np.sum),
    "ReduceSumSquare": _reduce(lambda x, axis, keepdims: (x**2).sum(axis, keepdims=keepdims)),
    "Relu": lambda attrs, x: np.maximum(x, 0),
    "Reshape": _reshape,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Selu": _selu,
    "Shape": lambda attrs, x: np.array(x.shape[attrs.get("start", 0) : attrs.get("end", None)], np.int64),
    "Sigmoid": lambda attrs, x: 1 / (1 + np.exp(-x)),
    "Sin": lambda attrs, x: np.sin(x),
    "Slice": _slice,
    "Softmax": lambda attrs, x: np.exp(_log_softmax(attrs, x)),
    "SoftmaxCrossEntropyLoss": _cross_entropy,
    "Softplus": lambda attrs, x: _softplus(x),
    "Softsign": lambda attrs, x: x / (1 + np.abs(x)),
    "Split": _split,
    "Sqrt": lambda attrs, x: np.sqrt(x),
    "Squeeze": _squeeze,
    "Sub": lambda attrs, a, b: a - b,
    "Sum": lambda attrs, *x: sum(x),
    "Tanh": lambda attrs, x: np.tanh(x),
    "Tile": lambda attrs, x, repeats: np.tile(x, repeats),
    "TopK": _top_k,
    "Transpose": lambda attrs, x: x.transpose(attrs.get("perm")),
    "Trilu": lambda attrs, x, k=None: (np.triu if attrs.get("upper", 1) else np.tril)(
        x, 0 if k is None else int(k.reshape(()))
    ),
    "Unsqueeze": _unsqueeze,
    "Where": lambda attrs, c, a, b: np.where(c, a, b),
}
