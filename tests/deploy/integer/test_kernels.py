from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.deploy.integer.kernels import NO_VNNI, Kernels, kernels
from tests.deploy.integer.small import integers, node, pair, start


def network() -> gs.Graph:
    """Conv, HardSwish and Conv with a float bias between pairs, Softmax without one behind it."""
    graph, x = start(1, 4, 6, 6)
    weight = np.ones((4, 4, 1, 1))
    y = node(graph, "Conv", [pair(graph, x, 0.1, 0), integers(graph, "w1", weight, np.ones(4))], x.shape, "a")
    y = node(graph, "HardSwish", [pair(graph, y, 0.1, 0)], x.shape, "b")
    bias = gs.Constant("bias", np.ones(4, np.float32))
    y = node(
        graph, "Conv", [pair(graph, y, 0.1, 0), integers(graph, "w2", weight, np.ones(4)), bias], x.shape, "c"
    )
    y = node(graph, "Softmax", [pair(graph, y, 0.1, 0)], x.shape, "d")
    graph.outputs = [node(graph, "Flatten", [y], (1, 144), "e")]
    return graph


def test_each_float_operator_has_its_reason() -> None:
    found = kernels(network())
    assert found == Kernels(
        1,
        (
            ("b.node", "HardSwish", "ONNX Runtime has no integer kernel for it"),
            ("c.node", "Conv", "its bias is float32"),
            ("d.node", "Softmax", "its output is not quantized"),
        ),
    )
    assert found.lines() == [
        "1 of 4 operators in integer kernels",
        "  float: 1 HardSwish (b.node): ONNX Runtime has no integer kernel for it",
        "  float: 1 Conv (c.node): its bias is float32",
        "  float: 1 Softmax (d.node): its output is not quantized",
        NO_VNNI,
    ]
    assert NO_VNNI not in Kernels(0, found.floats).lines()


def test_only_the_first_are_named() -> None:
    floats = [(f"n{index}", f"Op{index // 5}", "a reason") for index in range(50)]
    lines = Kernels(2, tuple(floats)).lines()
    assert lines[0] == "2 of 52 operators in integer kernels"
    assert lines[1] == "  float: 5 Op0 (n0, n1, n2, ...): a reason"
    assert lines[-2:] == ["  float: 20 more", NO_VNNI]
    assert len(lines) == 9


def test_what_computes_shapes_or_constants_does_not_count() -> None:
    graph, x = start(1, 4)
    shape = gs.Variable("shape", np.int64, (2,))
    graph.nodes.append(gs.Node("Shape", "shape.node", {}, [x], [shape]))
    doubled = gs.Variable("doubled", np.int64, (2,))
    graph.nodes.append(gs.Node("Add", "add", {}, [shape, shape], [doubled]))
    constant = gs.Constant("c", np.ones((1, 4), np.float32))
    table = node(graph, "Neg", [constant], (1, 4), "table")
    graph.outputs = [node(graph, "Add", [x, table], (1, 4)), doubled]
    assert kernels(graph).floats == (("y.node", "Add", "its inputs are not all quantized"),)
