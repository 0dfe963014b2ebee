from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxcomp.training.lowering import lower
from tests.training.probes import check, gradients, node, probe

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 4))


@pytest.mark.parametrize("opset", [17, 21])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("attributes", [{}, {"axis": 1}, {"axis": -2}, {"axis": 0}, {"epsilon": 0.1}])
def test_gradient(attributes: dict[str, Any], bias: bool, opset: int) -> None:
    shape = X.shape[attributes.get("axis", -1) % 3 :]
    parameters = [RNG.uniform(0.5, 1.5, shape), RNG.standard_normal(shape)][: 2 if bias else 1]
    model = probe(node("LayerNormalization", **attributes), X, *parameters, opset=opset)
    (norm,) = [n for n in lower(model, 2).graph.nodes if n.op == "LayerNormalization"]
    assert (len(norm.inputs), len(norm.outputs)) == (3, 3)
    check(model)


def test_equal_values_have_a_finite_gradient() -> None:
    model = probe(node("LayerNormalization"), np.zeros((2, 4)), np.ones(4), np.ones(4))
    assert all(np.isfinite(gradient).all() for gradient in gradients(model).values())
