from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.training.lowering.operators.structure import assert_taken
from tests.training.probes import check, gradients, node, probe

X = np.random.default_rng(0).standard_normal((2, 3, 4))
FORMS: list[tuple[int, list[int] | None, dict[str, Any]]] = [
    (13, [1], {}),
    (17, [-1, 0], {"keepdims": 0}),
    (17, None, {}),
    (13, None, {"keepdims": 0}),
    (18, [1], {}),
    (21, [-1, 0], {"keepdims": 0}),
    (18, None, {"keepdims": 0}),
    (21, None, {}),
]


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
@pytest.mark.parametrize(("opset", "axes", "attributes"), FORMS)
def test_gradient(op: str, opset: int, axes: list[int] | None, attributes: dict[str, Any]) -> None:
    """The axes are an input from opset 18 on."""
    if axes is None:
        write = node(op, **attributes)
    elif opset >= 18:
        write = node(op, ..., axes, **attributes)
    else:
        write = node(op, axes=axes, **attributes)
    model = probe(write, X, opset=opset)
    assert_taken(model, "extremes", op)
    check(model)


@pytest.mark.parametrize("opset", [13, 21])
def test_global_max_pool(opset: int) -> None:
    model = probe(node("GlobalMaxPool"), X.reshape(1, 2, 3, 4), opset=opset)
    assert_taken(model, "extremes", "GlobalMaxPool")
    check(model)


TIES = np.array([[0, 0, 0, -1], [3, 3, 1, 2], [-5, 7, 7, 7], [1, 2, 3, 4]], np.float64)


def test_ties_share_the_gradient() -> None:
    """A pruned channel is 0 everywhere behind its Relu."""
    shares = gradients(probe(node("ReduceMax", axes=[1]), TIES))["p0"]
    above = -gradients(probe(node("Neg"), -TIES.max(1, keepdims=True)))["p0"]
    expected = [[1 / 3, 1 / 3, 1 / 3, 0], [1 / 2, 1 / 2, 0, 0], [0, 1 / 3, 1 / 3, 1 / 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(shares, above * expected, rtol=1e-5, atol=1e-9)


def test_an_infinity_that_is_not_the_maximum_is_left_out() -> None:
    masked = np.array([[-np.inf, 1.0, 0.5]])
    found = gradients(probe(node("ReduceMax", axes=[1]), masked))["p0"]
    assert np.isfinite(found).all()
    assert (found[0] != 0).tolist() == [False, True, False]
