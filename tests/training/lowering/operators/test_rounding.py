from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.training.lowering.operators.rounding import lower_round
from tests.training.lowering import forward
from tests.training.lowering.operators.structure import assert_taken
from tests.training.probes import check, gradients, node, probe

VALUES = np.array([-2.5, -1.5, -0.5, -0.3, 0, 0.5, 0.50001, 1.5, 2.5, 7.9])


@pytest.mark.parametrize("opset", [13, 21])
def test_the_gradient_passes_as_it_is(opset: int) -> None:
    model = probe(node("Round"), VALUES, opset=opset)
    assert_taken(model, "straight-through round", "Round")
    check(model)


def test_the_value_is_exact_however_large() -> None:
    """2^23 + 1 is the first whole number beyond the range; 1e30 would overflow an integer."""
    large = np.array([-2.5, 2**23 - 0.5, 2**23 + 1, -(2**24) - 2, 1e30, -1e30, np.inf])
    training = forward.skeleton(probe(node("Round"), large, scale=1e-30))
    training.logits = "result0"
    training.graph.outputs.append(training.graph.tensors()["result0"])
    assert lower_round(training.graph) == 1
    np.testing.assert_array_equal(forward.run(training)["result0"], np.round(large.astype(np.float32)))


def test_large_values_have_a_gradient() -> None:
    large = np.array([2**23 + 1, -(2**24) - 2, 1e30, -1e30])
    assert gradients(probe(node("Round"), large, scale=1e-30))["p0"].all()
