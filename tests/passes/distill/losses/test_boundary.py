"""The activation-boundary loss against the paper's formula, and its gradient."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from onnxcomp.passes.distill import losses
from tests.passes.distill.losses import formulas
from tests.passes.distill.losses.building import OPSETS, Build, assert_formula, gradient, value


def tensors(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def build(margin: float) -> Build:
    return lambda g, x: losses.boundary(g, [(x[0], x[1])], margin)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(("shape", "margin"), [((1, 3, 5, 3), 1.0), ((3, 7), 0.5), ((2, 7, 1, 1), 2.0)])
def test_value_and_gradient(opset: int, shape: tuple[int, ...], margin: float) -> None:
    formula = partial(formulas.boundary, margin=margin)
    assert_formula(build(margin), formula, opset, *tensors(shape, shape))


def test_several_pairs_count_alike() -> None:
    a, b, c, d = tensors((2, 3, 5, 5), (2, 3, 5, 5), (2, 7, 3, 1), (2, 7, 3, 1))
    found = value(lambda g, x: losses.boundary(g, [(x[0], x[1]), (x[2], x[3])], 1.0), 17, a, b, c, d)
    expected = (formulas.boundary(a, b, 1.0) + formulas.boundary(c, d, 1.0)) / 2
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_neuron_at_0_is_not_active() -> None:
    s, t = np.array([[2.0]], np.float32), np.array([[0.0]], np.float32)
    assert value(build(1.0), 17, s, t) == pytest.approx(9.0)


def test_beyond_the_margin_on_the_teacher_s_side_there_is_no_loss() -> None:
    s, t = np.array([[1.5, -1.5]], np.float32), np.array([[0.1, -7.0]], np.float32)
    assert value(build(1.0), 17, s, t) == 0
    assert not gradient(build(1.0), 17, s, t).any()
