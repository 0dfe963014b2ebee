from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.training.lowering.operators.structure import assert_taken
from tests.training.probes import check, node, probe, slopes

X = np.random.default_rng(0).normal(0, 2, (3, 5))


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Elu", {}),
        ("Elu", {"alpha": 0.3}),
        ("Selu", {}),
        ("Selu", {"alpha": 1.5, "gamma": 0.7}),
        ("Celu", {}),
        ("Celu", {"alpha": 0.4}),
    ],
)
def test_gradient(op: str, attributes: dict[str, Any], opset: int) -> None:
    model = probe(node(op, **attributes), X, opset=opset)
    assert_taken(model, "exponential units", op)
    check(model)


def test_far_out_and_at_zero() -> None:
    """exp(100) is no float32; the lower branch's slope holds at 0."""
    points = np.array([-100, 0, 100])
    (derivative,) = slopes(node("Elu", alpha=0.3), points, scale=0.02)
    np.testing.assert_allclose(derivative, [0, 0.3, 1], atol=1e-5)
    (derivative,) = slopes(node("Celu", alpha=0.5), points, scale=0.02)
    np.testing.assert_allclose(derivative, [0, 1, 1], atol=1e-5)
