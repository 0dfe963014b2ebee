"""Attention transfer against the paper's formula, and its gradient."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp.passes.distill import losses
from tests.passes.distill.losses import formulas
from tests.passes.distill.losses.building import OPSETS, assert_formula, differences, gradient, value


def build(g: gs.Graph, x: list[gs.Variable]) -> gs.Variable:
    return losses.attention(g, [(x[0], x[1])])


def tensors(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("own", "other"),
    [((1, 7, 5, 3), (1, 2, 5, 3)), ((3, 1, 2, 2), (3, 9, 2, 2)), ((2, 4, 1, 6), (2, 4, 1, 6))],
)
def test_value_and_gradient(opset: int, own: tuple[int, ...], other: tuple[int, ...]) -> None:
    assert_formula(build, formulas.attention, opset, *tensors(own, other))


def test_equals_have_none_and_no_gradient_even_if_one_is_larger() -> None:
    (x,) = tensors((2, 3, 4, 4))
    assert abs(value(build, 17, x, np.float32(3) * x)) < 1e-12
    assert np.abs(gradient(build, 17, x, np.float32(3) * x)).max() < 1e-6


def test_maps_of_zeros_are_finite() -> None:
    x, zeros = tensors((2, 3, 4, 4))[0], np.zeros((2, 3, 4, 4), np.float32)
    for pair in ((x, zeros), (zeros, x), (zeros, zeros)):
        assert np.isfinite(value(build, 17, *pair))
        assert np.isfinite(gradient(build, 17, *pair)).all()


@pytest.mark.parametrize("size", [1e-5, 1e5])
def test_small_and_large_activations_count_as_others(size: float) -> None:
    x, y = tensors((3, 7, 5, 3), (3, 2, 5, 3))
    expected = float(formulas.attention(x.astype(np.float64), y.astype(np.float64)))
    small = np.float32(size) * x
    assert value(build, 17, small, y) == pytest.approx(expected, rel=1e-5)
    exact = differences(formulas.attention, x.astype(np.float64), y.astype(np.float64))
    error = np.abs(size * gradient(build, 17, small, y) - exact).max()
    assert error <= 1e-5 * np.abs(exact).max()


def test_pairs_count_alike() -> None:
    a, b, c, d = tensors((2, 3, 5, 3), (2, 7, 5, 3), (2, 1, 2, 2), (2, 4, 2, 2))
    found = value(lambda g, x: losses.attention(g, [(x[0], x[1]), (x[2], x[3])]), 17, a, b, c, d)
    expected = (formulas.attention(a, b) + formulas.attention(c, d)) / 2
    assert found == pytest.approx(float(expected), rel=1e-5)
