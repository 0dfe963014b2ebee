"""Soft targets against the paper's formula, and their gradient."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from onnxcomp.passes.distill import losses
from tests.passes.distill.losses import formulas
from tests.passes.distill.losses.building import OPSETS, Build, assert_formula, gradient, value


def logits(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return (3 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def build(temperature: float) -> Build:
    return lambda g, x: losses.soft_targets(g, x[0], x[1], temperature)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("shape", "temperature"), [((1, 2), 1.0), ((5, 10), 4.0), ((3, 101), 4.0), ((2, 7), 20.0)]
)
def test_value_and_gradient(opset: int, shape: tuple[int, int], temperature: float) -> None:
    formula = partial(formulas.soft_targets, temperature=temperature)
    # At 20 the divergence is near 0.01, of logarithms near 2 that float32 rounds by 1e-7.
    of_value = 1e-5 if temperature < 10 else 2e-5
    assert_formula(build(temperature), formula, opset, logits(shape), logits(shape, 1), of_value=of_value)


def test_equals_have_none_and_no_gradient() -> None:
    same = logits((4, 10))
    assert abs(value(build(4.0), 17, same, same)) < 1e-6
    assert np.abs(gradient(build(4.0), 17, same, same)).max() < 1e-6


def test_a_number_added_to_all_logits_changes_nothing() -> None:
    s, t = logits((4, 10)), logits((4, 10), 1)
    moved = value(build(2.0), 17, s + np.float32(5), t - np.float32(3))
    assert moved == pytest.approx(value(build(2.0), 17, s, t), rel=1e-5)


def test_extreme_logits_are_finite() -> None:
    s, t = (np.array([[80, -80, 0], [-80, -80, 80]], np.float32) * sign for sign in (1, -1))
    assert np.isfinite(value(build(1.0), 17, s, t))
    assert np.isfinite(gradient(build(1.0), 17, s, t)).all()
