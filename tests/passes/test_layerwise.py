"""Weights as the rows that Gram matrices are solved for, and how many are solved at a time."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import graphs
from onnxcomp.graphs import Weight
from onnxcomp.model import from_proto
from onnxcomp.passes.layerwise import damped, matrix, stages, tensor
from tests import zoo

NETWORKS = {**zoo.ALL, **zoo.MORE}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_matrix_turns_back_into_its_weight(name: str) -> None:
    for weight in graphs.weights(from_proto(NETWORKS[name]()).graph):
        values = weight.tensor.values
        rows = matrix(weight, values)
        assert rows.shape[0] * rows.shape[1] == values.shape[weight.axis]
        np.testing.assert_array_equal(tensor(weight, rows), values)


def conv(name: str, outputs: int, columns: int, group: int = 1) -> Weight:
    constant = gs.Constant(name, np.zeros((outputs, columns, 1, 1), np.float32))
    return Weight(gs.Node("Conv", name, {"group": group}, [gs.Variable("x"), constant]), 1, constant, 0)


def test_stages_hold_what_fits_and_at_least_one() -> None:
    layers = {
        "a": [conv("a", 4, 3)],
        "b": [conv("b", 4, 4), conv("b", 4, 4)],  # one matrix for both nodes
        "wide": [conv("wide", 4, 9)],
        "groups": [conv("groups", 6, 2, group=3)],
        "last": [conv("last", 6, 3)],
    }
    assert list(stages(layers, 25)) == [["a", "b"], ["wide"], ["groups", "last"]]
    assert list(stages(layers, 20)) == [["a"], ["b"], ["wide"], ["groups"], ["last"]]
    assert list(stages({}, 20)) == []


def test_damping_is_a_share_of_the_mean_diagonal_of_all_groups() -> None:
    gram = np.stack([np.full((2, 2), 3), np.full((2, 2), 5)]).astype(np.float32)
    before = gram.copy()
    # (3 + 3 + 5 + 5) / 4 = 4, a quarter of which is exact in float32.
    np.testing.assert_array_equal(damped(gram, 0.25) - gram, np.stack([np.eye(2), np.eye(2)]))
    np.testing.assert_array_equal(gram, before)
    np.testing.assert_array_equal(damped(np.zeros_like(gram)), np.stack([np.eye(2), np.eye(2)]))
