from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.training.lowering.operators.structure import assert_taken
from tests.training.probes import check, gradients, node, probe

X = np.random.default_rng(0).uniform(0.3, 2, (2, 3, 4))
LACKING = ("ReduceL1", "ReduceSumSquare", "ReduceLogSum")
FORMS: list[tuple[int, list[int] | None, dict[str, Any]]] = [
    (13, [1], {}),
    (17, [-1, 0], {"keepdims": 0}),
    (13, None, {"keepdims": 0}),
    (18, [1], {}),
    (21, [-1, 0], {"keepdims": 0}),
    (18, None, {}),
]


@pytest.mark.parametrize("op", [*LACKING, "ReduceL2", "ReduceLogSumExp"])
@pytest.mark.parametrize(("opset", "axes", "attributes"), FORMS)
def test_gradient(op: str, opset: int, axes: list[int] | None, attributes: dict[str, Any]) -> None:
    if axes is None:
        write = node(op, **attributes)
    elif opset >= 18:
        write = node(op, ..., axes, **attributes)
    else:
        write = node(op, axes=axes, **attributes)
    values = X if op == "ReduceLogSum" else X - 1
    model = probe(write, values, opset=opset)
    if op in LACKING:
        assert_taken(model, "reductions", op)
    check(model)


def test_the_norm_of_zeros_has_gradient_zero() -> None:
    """As in torch; a square root's would be infinite."""
    for keepdims in (0, 1):
        model = probe(node("ReduceL2", axes=[1], keepdims=keepdims), np.array([[0, 0], [3, 4]]))
        found = gradients(model)["p0"]
        assert not found[0].any()
        assert found[1].all()


def test_absolute_values_at_zero() -> None:
    found = gradients(probe(node("ReduceL1", axes=[1]), np.array([[0.0, -1, 2]])))["p0"][0]
    assert found[0] == 0
    np.testing.assert_allclose(found[1], -found[2], rtol=1e-6)
