from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxcomp.deploy.integer.activations import drop_activations
from tests.deploy.integer.small import node, ops, pair, run, start

STEP = 1 / 32


def network(
    op: str, scale: float, zero: int, bounds: tuple[float | None, float | None] = (None, None)
) -> Any:
    """x -> Relu or Clip -> pair."""
    graph, x = start(1, 2, 40, 40)
    inputs: list[gs.Tensor] = [x]
    if op == "Clip":
        for name, bound in zip(("low", "high"), bounds, strict=True):
            known = gs.Constant(name, np.array(bound, np.float32)) if bound is not None else None
            inputs.append(known or gs.Variable.empty())
    y = node(graph, op, inputs, (1, 2, 40, 40))
    graph.outputs = [pair(graph, y, scale, zero)]
    return graph


def values() -> np.ndarray:
    """Around and far beyond the range, ties of rounding among them."""
    x = np.linspace(-12, 12, 2 * 40 * 40, dtype=np.float32).reshape(1, 2, 40, 40).copy()
    x[0, 0, 0] = STEP * (np.arange(40) - 20.5)
    return x


@pytest.mark.parametrize(
    ("op", "scale", "zero", "bounds"),
    [
        ("Relu", STEP, 0, ()),
        ("Clip", STEP, 0, (0.0, None)),
        ("Clip", 6 / 255, 0, (0.0, 6.0)),
        ("Clip", 5 / 255, 0, (0.0, 6.0)),
        ("Clip", 12 / 255, 128, (-6.1, 6.0)),
        ("Clip", STEP, 7, (None, None)),
    ],
)
def test_what_saturation_does_is_dropped(op: str, scale: float, zero: int, bounds: Any) -> None:
    graph = network(op, scale, zero, bounds)
    before = run(graph, values())
    assert drop_activations(graph) == 1
    assert ops(graph) == {"QuantizeLinear": 1, "DequantizeLinear": 1}
    assert np.array_equal(run(graph, values()), before)


@pytest.mark.parametrize(
    ("op", "scale", "zero", "bounds"),
    [
        ("Relu", STEP, 100, ()),
        ("Clip", 7 / 255, 0, (0.0, 6.0)),
        ("Clip", STEP, 128, (-1.03, 2.01)),
        ("Clip", STEP, 128, (20.0, 30.0)),
    ],
)
def test_elsewhere_integers_are_clipped(op: str, scale: float, zero: int, bounds: Any) -> None:
    graph = network(op, scale, zero, bounds)
    before = run(graph, values())
    assert drop_activations(graph) == 1
    assert ops(graph) == {"QuantizeLinear": 1, "Clip": 1, "DequantizeLinear": 1}
    assert next(one for one in graph.nodes if one.op == "Clip").inputs[0].dtype == np.uint8
    assert np.array_equal(run(graph, values()), before)


@settings(max_examples=60)
@given(
    st.floats(2**-10, 1, width=32), st.integers(0, 255), st.floats(-8, 8, width=32), st.floats(0, 8, width=32)
)
def test_it_is_exact_for_any_range(scale: float, zero: int, low: float, width: float) -> None:
    graph = network("Clip", scale, zero, (low, low + width))
    before = run(graph, values())
    assert drop_activations(graph) == 1
    assert np.array_equal(run(graph, values()), before)


def test_what_else_reads_it_keeps_it() -> None:
    graph = network("Relu", STEP, 0)
    relu = next(one for one in graph.nodes if one.op == "Relu")
    graph.outputs.append(node(graph, "Neg", [relu.outputs[0]], (1, 2, 40, 40), "other"))
    assert drop_activations(graph) == 0
    assert ops(graph)["Relu"] == 1


def test_bounds_that_the_network_computes_keep_it() -> None:
    graph = network("Clip", STEP, 0, (0.0, 6.0))
    clip = next(one for one in graph.nodes if one.op == "Clip")
    high = node(graph, "ReduceMax", [graph.inputs[0]], (), "bound", keepdims=0)
    clip.inputs[2] = high
    graph.toposort()
    assert drop_activations(graph) == 0
