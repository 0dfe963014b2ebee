from __future__ import annotations

import numpy as np
import pytest

from tests.training.lowering.operators.structure import assert_taken
from tests.training.probes import check, node, probe, slopes

X = np.random.default_rng(0).normal(0, 2, (3, 5))


@pytest.mark.parametrize(
    ("op", "opset"),
    [("Softplus", 13), ("Softplus", 21), ("Softsign", 13), ("Softsign", 21), ("Mish", 18), ("Mish", 21)],
)
def test_gradient(op: str, opset: int) -> None:
    model = probe(node(op), X, opset=opset)
    assert_taken(model, "smooth units", op)
    check(model)


@pytest.mark.parametrize("opset", [20, 21])
def test_gelu_by_tanh_alone(opset: int) -> None:
    bent = probe(node("Gelu", approximate="tanh"), X, opset=opset)
    assert_taken(bent, "smooth units", "Gelu")
    check(bent)


POINTS = np.array([-100, -20, 0, 20, 100], np.float64)


def test_far_out_and_at_zero() -> None:
    (derivative,) = slopes(node("Softplus"), POINTS, scale=0.02)
    np.testing.assert_allclose(derivative, [0, 2.06e-9, 0.5, 1, 1], rtol=1e-3, atol=1e-12)
    (derivative,) = slopes(node("Mish"), POINTS, opset=18, scale=0.02)
    np.testing.assert_allclose(derivative, [0, 0, 0.6, 1, 1], atol=1e-5)
    (derivative,) = slopes(node("Softsign"), POINTS)
    np.testing.assert_allclose(derivative, 1 / (1 + np.abs(POINTS)) ** 2, rtol=1e-4)
