from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp.deploy.integer.moves import move_integers
from tests.deploy.integer.small import node, ops, pair, run, start

SCALE, ZERO = 0.05, 100


def network(
    op: str, output: tuple[int, ...], scale: float = SCALE, zero: int = ZERO, **attrs: Any
) -> gs.Graph:
    """x -> pair -> op -> pair."""
    graph, x = start(2, 4, 6, 6)
    inputs: list[gs.Tensor] = [pair(graph, x, SCALE, ZERO)]
    if op == "Reshape":
        inputs.append(gs.Constant("shape", np.array(output)))
    if op == "Concat":
        inputs.append(pair(graph, node(graph, "Neg", [x], x.shape, "minus"), SCALE, ZERO))
    graph.outputs = [pair(graph, node(graph, op, inputs, output, **attrs), scale, zero)]
    return graph.toposort()


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 4, shape or (2, 4, 6, 6)).astype(np.float32)


@pytest.mark.parametrize(
    ("op", "output", "attrs"),
    [
        ("Flatten", (2, 144), {"axis": 1}),
        ("Reshape", (2, 12, 12), {}),
        ("Transpose", (2, 6, 6, 4), {"perm": [0, 2, 3, 1]}),
        ("MaxPool", (2, 4, 3, 3), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("Concat", (2, 8, 6, 6), {"axis": 1}),
    ],
)
def test_it_moves_integers_and_answers_the_same(op: str, output: tuple[int, ...], attrs: Any) -> None:
    graph = network(op, output, **attrs)
    before = run(graph, images())
    assert move_integers(graph) == 1
    moving = next(one for one in graph.nodes if one.op == op)
    assert moving.inputs[0].dtype == moving.outputs[0].dtype == np.uint8
    assert ops(graph)["DequantizeLinear"] == 1
    assert np.array_equal(run(graph, images()), before)


@pytest.mark.parametrize("changed", [{"scale": 0.06}, {"zero": 99}])
def test_where_encodings_differ_values_change(changed: Any) -> None:
    graph = network("Flatten", (2, 144), **changed)
    assert move_integers(graph) == 0
    graph = network("Concat", (2, 8, 6, 6), axis=1, **changed)
    assert move_integers(graph) == 0
    graph = network("Flatten", (2, 144))
    graph.outputs.append(graph.tensors()["y"])
    assert move_integers(graph) == 0


def test_two_pairs_behind_become_one_tensor() -> None:
    graph = network("Flatten", (2, 144))
    y = graph.tensors()["y"]
    parameters = graph.nodes[-1].inputs[1:]
    again = gs.Variable("z", np.float32, y.shape)
    second = pair(graph, again, SCALE, ZERO, parameters=parameters)
    graph.nodes[-2].inputs[0] = y
    graph.outputs.append(second)
    before = run(graph, images())
    assert move_integers(graph) == 1
    assert ops(graph) == {"QuantizeLinear": 1, "Flatten": 1, "DequantizeLinear": 2}
    assert np.array_equal(run(graph, images()), before)


def pooled(size: int, scale: float = SCALE) -> gs.Graph:
    graph, x = start(2, 4, size, size)
    y = node(graph, "GlobalAveragePool", [pair(graph, x, SCALE, ZERO)], (2, 4, 1, 1))
    graph.outputs = [pair(graph, y, scale, ZERO)]
    return graph


def test_the_mean_of_one_element_goes() -> None:
    graph = pooled(1)
    before = run(graph, images(2, 4, 1, 1))
    assert move_integers(graph) == 1
    assert ops(graph) == {"QuantizeLinear": 1, "DequantizeLinear": 1}
    assert np.array_equal(run(graph, images(2, 4, 1, 1)), before)
    assert move_integers(pooled(2)) == 0
    assert move_integers(pooled(1, scale=0.06)) == 0
