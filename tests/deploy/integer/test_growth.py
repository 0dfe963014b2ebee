from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.deploy.integer.growth import grow
from tests.deploy.integer.small import node, run, start


def block() -> gs.Graph:
    """Four layers that each read all before them, and one Concat along another axis."""
    graph, x = start(2, 3, 5, 5)
    parts: list[gs.Tensor] = [x]
    for index in range(4):
        joined = parts[0] if index == 0 else node(graph, "Concat", parts, (), f"concat{index}", axis=1)
        joined.shape = (2, 3 * len(parts), 5, 5)
        mean = node(graph, "ReduceMean", [joined], (2, 1, 5, 5), f"mean{index}", axes=[1])
        parts.append(node(graph, "Mul", [mean, x], (2, 3, 5, 5), f"part{index}"))
    rows = node(graph, "Concat", parts, (2, 3, 25, 5), "rows", axis=2)
    whole = node(graph, "Concat", parts, (2, 15, 5, 5), "whole", axis=1)
    graph.outputs = [
        node(
            graph,
            "Reshape",
            [t, gs.Constant(f"{t.name}.shape", np.array([2, 375]))],
            (2, 375),
            f"{t.name}.flat",
        )
        for t in (rows, whole)
    ]
    final = node(graph, "Add", graph.outputs, (2, 375), "sum")
    graph.outputs = [final]
    return graph


def test_a_concat_starts_from_the_last_one() -> None:
    graph = block()
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 5)).astype(np.float32)
    before = run(graph, x)
    assert grow(graph) == 3
    inputs = {one.outputs[0].name: [t.name for t in one.inputs] for one in graph.nodes if one.op == "Concat"}
    assert inputs == {
        "concat1": ["x", "part0"],
        "concat2": ["concat1", "part1"],
        "concat3": ["concat2", "part2"],
        "rows": ["x", "part0", "part1", "part2", "part3"],
        "whole": ["concat3", "part3"],
    }
    assert np.array_equal(run(graph, x), before)
    assert grow(graph) == 0


def test_the_same_parts_in_another_order_are_another_concat() -> None:
    graph, x = start(1, 2)
    minus = node(graph, "Neg", [x], (1, 2), "minus")
    first = node(graph, "Concat", [x, minus], (1, 4), "first", axis=1)
    second = node(graph, "Concat", [minus, x, first], (1, 8), "second", axis=1)
    graph.outputs = [second]
    assert grow(graph) == 0
