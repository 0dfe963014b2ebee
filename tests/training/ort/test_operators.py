"""The gradient of each operator that ONNX Runtime differentiates by itself, alone and element by element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest

from onnxcomp.training.engine import build
from onnxcomp.training.ort.differentiable import OPERATORS
from tests.training.networks import BATCH, batch
from tests.training.probes import Write, check, float32, gradients, node, probe, slopes

RNG = np.random.default_rng(3)
ELSEWHERE = {
    "BatchNormInternal": "tests/training/ort/test_gradients.py, every network",
    "FakeQuant": "tests/training/ort/test_gradients.py, qat",
    "LayerNormalization": "tests/training/lowering/operators/test_layer_norm.py",
    "Pow": "tests/training/lowering/operators/test_broadcast.py",
    "SoftmaxCrossEntropyLoss": "tests/training/ort/test_gradients.py, every network",
    "Where": "tests/training/lowering/operators/test_broadcast.py",
}


class Case(NamedTuple):
    """An operator and the shapes of the parameters it works on, positive if ``low`` is."""

    op: str
    write: Write
    shapes: list[tuple[int, ...]]
    opsets: tuple[int, ...] = (17,)
    low: float = -1.5


def case(op: str, shapes: Sequence[tuple[int, ...]], *inputs: Any, **attributes: Any) -> Case:
    words = {key: attributes.pop(key) for key in ("opsets", "low") if key in attributes}
    return Case(op, node(op, *inputs, **attributes), list(shapes), **words)


X, IMAGE, BOTH = (2, 3, 4), (1, 2, 7, 6), (13, 21)
POOL: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2]}
CASES = [
    *(case(op, [X], opsets=BOTH) for op in ("Abs", "Cos", "Erf", "Exp", "Identity", "Neg")),
    *(case(op, [X], opsets=BOTH) for op in ("Relu", "Sigmoid", "Sin", "Tanh", "LeakyRelu", "Transpose")),
    *(case(op, [X], low=0.3, opsets=BOTH) for op in ("Log", "Reciprocal", "Sqrt")),
    case("LeakyRelu", [X], alpha=0.3),
    case("Gelu", [X], opsets=(20, 21)),
    case("Cast", [X], to=onnx.TensorProto.FLOAT),
    # numbers, with broadcasting
    case("Add", [X, (3, 1)], opsets=BOTH),
    case("Sub", [(2, 1, 4), (3, 1)]),
    case("Mul", [X, (1, 3, 1)]),
    case("Div", [(2, 1, 4), (3, 1)], low=0.3),
    case("Max", [X, (3, 4), (2, 1, 1)]),
    case("Max", [X, X], opsets=BOTH),
    case("Min", [X, (4,)], opsets=BOTH),
    case("Clip", [X], ..., float32(-0.5), float32(0.5), opsets=BOTH),
    case("Clip", [X], ..., float32(-0.5)),
    case("Clip", [X], ..., None, float32(0.5)),
    case("Clip", [X], ...),
    # matrices
    *(
        case("MatMul", shapes)
        for shapes in (
            [(2, 3), (3, 4)],
            [(2, 2, 3), (3, 4)],
            [(2, 2, 3), (2, 3, 4)],
            [(2, 3), (2, 3, 4)],
            [(3,), (3, 4)],
            [(2, 2, 2, 3), (2, 2, 3, 4)],
            [(2, 1, 2, 3), (2, 3, 4)],
            [(2, 1, 2, 3), (1, 2, 3, 4)],
            [(2, 2, 2, 3), (3, 4)],
        )
    ),
    case("Gemm", [(2, 3), (3, 4)]),
    case("Gemm", [(2, 3), (3, 4), (4,)], alpha=0.5, beta=2.0),
    case("Gemm", [(3, 2), (4, 3), (2, 1)], transA=1, transB=1, alpha=0.7),
    case("Gemm", [(2, 3), (4, 3), (2, 4)], transB=1),
    # softmax
    *(case(op, [X], axis=axis) for op in ("Softmax", "LogSoftmax") for axis in (-1, 1, 0)),
    case("Softmax", [(2, 2, 3, 4)], opsets=(13, 17, 18, 21)),
    # reductions: axes are an attribute before opset 18, but for ReduceSum
    *(case(op, [X], axes=[1], opsets=(13, 17)) for op in ("ReduceMean", "ReduceL2", "ReduceLogSumExp")),
    *(case(op, [X], ..., [1], opsets=(18, 21)) for op in ("ReduceMean", "ReduceL2", "ReduceLogSumExp")),
    *(case(op, [X], opsets=BOTH) for op in ("ReduceMean", "ReduceSum", "ReduceL2", "ReduceLogSumExp")),
    case("ReduceMean", [X], axes=[-1, 0], keepdims=0, opsets=(13,)),
    case("ReduceMean", [X], ..., [-1, 0], keepdims=0, opsets=(18,)),
    case("ReduceMean", [X], keepdims=0, opsets=BOTH),
    case("ReduceSum", [X], ..., [-1, 0], keepdims=0, opsets=BOTH),
    case("ReduceSum", [X], keepdims=0),
    case("ReduceSum", [X], ..., np.array([], np.int64), noop_with_empty_axes=1),
    # shapes
    case("Concat", [X, (2, 2, 4), (2, 1, 4)], axis=-2),
    case("Transpose", [X], perm=[1, 2, 0]),
    case("Reshape", [X], ..., [0, -1], opsets=BOTH),
    case("Flatten", [X], axis=2),
    case("Flatten", [X], axis=-1),
    case("Squeeze", [(1, 3, 1, 2)], ..., [0, -2], opsets=BOTH),
    case("Squeeze", [(1, 3, 1, 2)]),
    case("Unsqueeze", [X], ..., [0, -1], opsets=BOTH),
    case("Expand", [(3, 1)], ..., [2, 3, 4], opsets=BOTH),
    case("Expand", [(2, 3)], ..., [1, 3]),
    case("Tile", [X], ..., [1, 2, 3]),
    case("Pad", [X], ..., [0, 1, 0, 1, 0, 2], opsets=(13, 18, 21)),
    case("Pad", [X], ..., [0, 1, 0, 1, 0, 2], float32(0.5)),
    case("Pad", [X], ..., [0, -1, 0, 1, 0, -2]),
    # parts
    case("Slice", [X], ..., [0, -3], [2, 2**31 - 1], [1, -1], [1, 2], opsets=BOTH),
    case("Slice", [X], ..., [0, 1], [1, 100]),
    case("Gather", [X], ..., [0, -1, 0], axis=1),
    case("Gather", [X], ..., np.array(0), axis=1),
    case("Gather", [X], ..., np.array(-1), axis=-1),
    case("Gather", [X], ..., [[0, 1], [1, 1]]),
    case("GatherElements", [X], ..., RNG.integers(-3, 3, (2, 2, 4)), axis=1),
    case("GatherND", [X], ..., [[0, 1], [-1, -2]]),
    case("GatherND", [X], ..., [[1], [2]], batch_dims=1),
    case("ScatterND", [X, (2, 4)], ..., [[0, 1], [1, 2]], ..., opsets=(13, 18)),
    case("ScatterElements", [X, (2, 1, 4)], ..., RNG.integers(0, 3, (2, 1, 4)), ..., axis=1, opsets=(13, 18)),
    case("TopK", [X], ..., [2], outputs=2),
    case("TopK", [X], ..., [2], outputs=2, axis=1, largest=0),
    case("Trilu", [(2, 3, 3)]),
    case("Trilu", [(3, 3)], ..., np.array(1), upper=0),
    # windows
    *(case("GlobalAveragePool", [shape], opsets=BOTH) for shape in (IMAGE, (1, 2, 5))),
    *(
        case("AveragePool", [IMAGE], opsets=(13, 19, 21), **POOL, **attributes)
        for attributes in (
            {},
            {"pads": [1, 1, 1, 1]},
            {"pads": [0, 1, 1, 0]},
            {"pads": [0, 1, 1, 0], "count_include_pad": 1},
            {"ceil_mode": 1},
            {"ceil_mode": 1, "pads": [1, 0, 0, 1]},
            {"auto_pad": "SAME_UPPER"},
            {"auto_pad": "SAME_LOWER", "count_include_pad": 1},
        )
    ),
    case("AveragePool", [(1, 2, 7)], kernel_shape=[3], strides=[2]),
    *(
        case("MaxPool", [IMAGE], **POOL, **attributes)
        for attributes in (
            {},
            {"pads": [0, 1, 1, 0]},
            {"ceil_mode": 1},
            {"dilations": [2, 1]},
            {"auto_pad": "SAME_UPPER"},
        )
    ),
    case("Conv", [IMAGE, (4, 1, 3, 3), (4,)], group=2, pads=[0, 1, 2, 1], strides=[2, 1]),
    case("Conv", [(2, 3, 5), (4, 3, 3), (4,)], pads=[1, 1]),
    case("Conv", [(2, 3, 5), (4, 3, 1)]),
    case("Conv", [(1, 2, 3, 3, 3), (2, 2, 2, 2, 2)]),
]


def test_every_operator_is_tested() -> None:
    split = "Split"  # below
    assert {c.op for c in CASES} | set(ELSEWHERE) | {split} == OPERATORS


@pytest.mark.parametrize(
    ("case", "opset"),
    [pytest.param(c, o, id=f"{c.op}-{i}-{o}") for i, c in enumerate(CASES) for o in c.opsets],
)
def test_gradient(case: Case, opset: int) -> None:
    rng = np.random.default_rng(7)
    values = [rng.uniform(case.low, 1.5, shape) for shape in case.shapes]
    check(probe(case.write, *values, opset=opset))


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [0, 1, 1, 0]])
@pytest.mark.parametrize("opset", [13, 19])
def test_average_pool_that_counts_padding_and_rounds_up(opset: int, pads: list[int]) -> None:
    """ONNX Runtime also counts what lies behind the padding, which ONNX does not: its gradient is that
    of its own result, by differences of which (the loss is smooth; float32) it is measured."""
    write = node(
        "AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=pads, ceil_mode=1, count_include_pad=1
    )
    engine = build(probe(write, RNG.standard_normal((1, 1, 6, 6)), opset=opset), batch_size=BATCH, threads=1)
    engine.step(*batch())
    gradient, values = engine.gradients["p0"].copy(), engine.parameters["p0"]
    for index in np.ndindex(gradient.shape):
        start, losses = float(values[index]), []
        for step in (0.05, -0.05):
            values[index] = start + step
            losses.append(engine.step(*batch()).losses["loss"])
        values[index] = start
        slope = (losses[0] - losses[1]) / 0.1
        assert gradient[index] == pytest.approx(slope, abs=1e-3 * float(np.abs(gradient).max()))


@pytest.mark.parametrize(("opset", "sizes"), [(13, [1, 2, 1]), (18, None), (21, [1, 2, 1])])
def test_split_into_parts_that_are_all_read(opset: int, sizes: list[int] | None) -> None:
    def write(net: Any, names: list[str]) -> str:
        words = {} if sizes else {"num_outputs": 3}
        node("Split", *([..., sizes] if sizes else [...]), outputs=3, axis=-1, **words)(net, names)
        total: str = net.node("Concat", ["result2", "result0", "result1", "result0"], "all", axis=2)
        return total

    check(probe(write, RNG.standard_normal((*X[:2], 4 if sizes else 5)), opset=opset))


def test_a_double_between_floats() -> None:
    def write(net: Any, names: list[str]) -> str:
        node("Cast", to=onnx.TensorProto.DOUBLE)(net, names)
        back: str = net.node("Cast", ["result0"], "back", to=onnx.TensorProto.FLOAT)
        return back

    check(probe(write, RNG.standard_normal(X)))


ZERO = np.array([0.0, 1, -1])
AT_ZERO: dict[str, list[float]] = {
    "Relu": [0, 1, 0],
    "LeakyRelu": [0.01, 1, 0.01],
    "Abs": [0, 1, -1],
    "Sigmoid": [0.25, 0.19661, 0.19661],
    "Tanh": [1, 0.41997, 0.41997],
}


@pytest.mark.parametrize("op", AT_ZERO)
def test_zeros_of_a_pruned_network(op: str) -> None:
    """The subgradients of torch."""
    (derivative,) = slopes(node(op), ZERO)
    np.testing.assert_allclose(derivative, AT_ZERO[op], rtol=1e-4, atol=1e-7)


def test_clip_passes_at_its_bounds() -> None:
    (derivative,) = slopes(node("Clip", ..., float32(0), float32(6)), np.array([-1.0, 0, 3, 6, 7]), scale=0.3)
    np.testing.assert_allclose(derivative, [0, 1, 1, 1, 0], atol=1e-6)


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_ties_share_the_gradient(op: str) -> None:
    one, two = slopes(node(op), np.array([0.0, 1, 2]), np.array([0.0, 2, 1]))
    np.testing.assert_allclose(one + two, 1, rtol=1e-5)
    assert one[0] == pytest.approx(0.5)


def test_a_pool_of_equal_values_gives_its_gradient_once() -> None:
    found = gradients(probe(node("MaxPool", kernel_shape=[2, 2]), np.zeros((1, 1, 2, 2))))["p0"]
    assert np.count_nonzero(found) == 1
