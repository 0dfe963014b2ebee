from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp.affine import UnsuitableError, affine
from tests.deploy.test_qdq import run
from tests.test_fold_bn import CHANNELS, batch_norm


def norm(**values: Any) -> gs.Graph:
    x = gs.Variable("x", np.float32, (2, CHANNELS, 3, 3))
    graph = gs.Graph([], [x], [], opset=17)
    graph.outputs = [batch_norm(graph, x, **values)]
    return graph


def test_it_is_what_batch_normalization_computes() -> None:
    graph = norm()
    x = np.random.default_rng(0).normal(size=(2, CHANNELS, 3, 3)).astype(np.float32)
    found = affine(graph.nodes[0], CHANNELS)
    assert found.factor.dtype == found.shift.dtype == np.float64
    expected = x * found.factor[:, None, None] + found.shift[:, None, None]
    assert np.abs(run(graph, x) - expected).max() <= 1e-5
    assert np.array_equal(affine(graph.nodes[0]).factor, found.factor)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"var": np.full(CHANNELS, -1e-3)}, "its variance is not above 0"),
        ({"scale": np.full(CHANNELS, np.nan)}, "its parameters are not finite"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsuitableError, match=reason):
        affine(norm(**values).nodes[0])


def test_other_widths_and_computed_parameters_are_refused() -> None:
    node = norm().nodes[0]
    with pytest.raises(UnsuitableError):
        affine(node, CHANNELS + 1)
    node.inputs[1] = gs.Variable("gamma", np.float32, (CHANNELS,))
    with pytest.raises(UnsuitableError, match="its parameters are not constant"):
        affine(node)
