from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcomp.deploy.opset import DOWNGRADES, WRITTEN, lower_opset
from onnxcomp.errors import ModelError
from tests.deploy.test_qdq import run

SHAPE = (2, 6, 8, 8)
ANY = TensorProto.FLOAT


def single(
    op: str, opset: int, constants: Sequence[Any] = (), outputs: int = 1, **attributes: Any
) -> gs.Graph:
    """x (2, 6, 8, 8) -> op -> y; ``constants`` are the inputs after x, None for one left out."""
    names = ["" if value is None else f"c{index}" for index, value in enumerate(constants)]
    initializers = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in zip(names, constants, strict=True)
        if value is not None
    ]
    ys = [f"y{index}" for index in range(outputs)]
    node = helper.make_node(op, ["x", *names], ys, name="it", **attributes)
    x = helper.make_tensor_value_info("x", ANY, SHAPE)
    made = helper.make_graph(
        [node], "g", [x], [helper.make_empty_tensor_value_info(y) for y in ys], initializers
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    graph = gs.import_onnx(proto)
    if op == "GroupNormalization":  # at which onnx stops
        graph.outputs[0].shape = SHAPE
    return graph


def checked(graph: gs.Graph) -> onnx.ModelProto:
    proto = gs.export_onnx(graph, do_type_check=False, ir_version=8)
    onnx.checker.check_model(proto, full_check=True)
    return proto


AXES = np.array([2, 3], np.int64)
VECTORS = [*np.linspace(0.5, 2, 12, dtype=np.float32).reshape(2, 6)]


@pytest.mark.parametrize(
    "graph",
    [
        single("ReduceMean", 18, [AXES], keepdims=0),
        single("ReduceMean", 21, [np.array([-1], np.int64)]),
        single("ReduceMax", 20, [AXES]),
        single("ReduceMin", 18, [np.array([1], np.int64)], keepdims=0),
        single("ReduceL2", 18, [AXES]),
        single("ReduceSumSquare", 18),
        single("ReduceMean", 18, [np.array([], np.int64)], noop_with_empty_axes=0),
        single("AveragePool", 19, kernel_shape=[3, 3], strides=[2, 2], dilations=[1, 1], ceil_mode=1),
        single("AveragePool", 21, kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
        single("Reshape", 21, [np.array([2, -1], np.int64)]),
        single("Flatten", 21, axis=1),
        single("Transpose", 21, perm=[0, 2, 3, 1]),
        single("Unsqueeze", 21, [np.array([0], np.int64)]),
        single("Shape", 21, start=1),
        single("Cast", 19, to=TensorProto.INT32, saturate=1),
        single("Cast", 21, to=TensorProto.FLOAT16),
        single("Pad", 21, [np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)]),
        single("Pad", 18, [np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64), np.float32(2)], mode="constant"),
        single("Resize", 19, [None, np.array([1, 1, 2, 2], np.float32)], mode="nearest"),
        single("Resize", 18, [None, np.array([1, 1, 2, 2], np.float32)], mode="linear", antialias=0),
        single("Split", 18, outputs=3, axis=1, num_outputs=3),
        single("Split", 18, [np.array([1, 5], np.int64)], outputs=2, axis=1),
        single("QuantizeLinear", 21, [np.float32(0.1), np.int8(0)], saturate=1, block_size=0),
        single("QuantizeLinear", 21, [np.float32(0.1), np.uint8(3)], output_dtype=TensorProto.UINT8),
        single("Relu", 21),
        single("BatchNormalization", 21, [np.arange(1, 7, dtype=np.float32)] * 4),
        single("Clip", 21, [np.float32(-0.5), np.float32(0.5)]),
        single("Gelu", 20),
        single("Gelu", 21, approximate="tanh"),
        single("Mish", 18),
        single("GroupNormalization", 21, VECTORS, num_groups=3),
        single("GroupNormalization", 21, VECTORS, num_groups=6, epsilon=0.1),
        single("GroupNormalization", 21, VECTORS, num_groups=1),
    ],
    ids=lambda graph: f"{graph.nodes[0].op}-{graph.opset}",
)
def test_the_lowered_operator_answers_the_same(graph: gs.Graph) -> None:
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    before = run(graph, x)
    lower_opset(graph, 17)
    proto = checked(graph)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 17)]
    # Another kernel may sum in another order: float32 rounding of values around 1 (sums up to 1000).
    np.testing.assert_allclose(run(graph, x), before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            single("AveragePool", 19, kernel_shape=[2, 2], dilations=[2, 2]),
            "node it: AveragePool is used with dilations=[2, 2], which opset 17 does not have;"
            " export the network with opset 17",
        ),
        (
            single("AveragePool", 19, kernel_shape=[3, 3], ceil_mode=1, count_include_pad=1),
            "ceil_mode and count_include_pad",
        ),
        (single("CenterCropPad", 18, [np.array(SHAPE)]), "CenterCropPad is used as opset 18 defines it"),
        (single("Pad", 19, [np.ones(8, np.int64)], mode="wrap"), "mode=wrap"),
        (single("Split", 18, outputs=4, axis=1, num_outputs=4), "num_outputs=4"),
        (single("ReduceMean", 18, noop_with_empty_axes=1), "noop_with_empty_axes"),
        (single("Cast", 19, to=TensorProto.FLOAT8E4M3FN), "Cast is used with a type"),
        (single("QuantizeLinear", 21, [np.float32(0.1), np.int16(0)]), "type int16"),
        (
            single("Resize", 18, [None, np.array([1, 1, 0.5, 0.5], np.float32)], mode="linear", antialias=1),
            "antialias=1",
        ),
    ],
    ids=lambda value: value.nodes[0].op if isinstance(value, gs.Graph) else "",
)
def test_what_the_older_opset_lacks_is_refused(graph: gs.Graph, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        lower_opset(graph, 17)
    assert message in str(caught.value)


def test_sizes_that_are_not_known_are_computed() -> None:
    graph = single("GroupNormalization", 21, VECTORS, num_groups=3)
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    before = run(graph, x)
    graph.inputs[0].shape = (2, 6, "height", 8)
    lower_opset(graph, 17)
    assert "Shape" in {node.op for node in graph.nodes}
    np.testing.assert_allclose(run(graph, x), before, rtol=1e-6, atol=1e-6)


def test_pieces_have_names_of_their_own() -> None:
    graph = single("Gelu", 20)
    graph.inputs[0].name = "it/halved"
    lower_opset(graph, 19)
    names = [*(node.name for node in graph.nodes), *graph.tensors()]
    assert [node.op for node in graph.nodes] == ["Div", "Erf", "Add", "Mul", "Mul"]
    assert all(node.name.startswith("it/") for node in graph.nodes)
    assert len(graph.tensors()) == len({*graph.tensors()})
    assert names.count("it/halved") == 1


def test_computed_axes_are_refused() -> None:
    graph = single("ReduceMean", 18, [AXES])
    computed = gs.Variable("computed", np.int64, (2,))
    graph.nodes.insert(0, gs.Node("Neg", "neg", {}, [graph.nodes[0].inputs[1]], [computed]))
    graph.nodes[1].inputs[1] = computed
    with pytest.raises(ModelError, match="ReduceMean is used with computed axes"):
        lower_opset(graph, 17)


def test_only_as_far_as_needed() -> None:
    graph = single("AveragePool", 20, kernel_shape=[2, 2], dilations=[2, 2])
    lower_opset(graph, 20)
    assert graph.opset == 20
    lower_opset(graph, 19)
    assert graph.nodes[0].attrs["dilations"] == [2, 2]
    assert checked(graph).opset_import[0].version == 19


def test_an_older_graph_is_left_as_it_is() -> None:
    graph = single("ReduceMean", 13, axes=[2, 3])
    lower_opset(graph, 17)
    assert graph.opset == 13
    assert graph.nodes[0].attrs["axes"] == [2, 3]


def test_an_opset_of_another_domain_that_nothing_uses_goes() -> None:
    graph = single("Relu", 17)
    graph.import_domains = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    lower_opset(graph, 17)
    assert [entry.domain for entry in checked(graph).opset_import] == [""]


def test_nodes_inside_a_branch_are_lowered_too() -> None:
    def branch(op: str, name: str) -> onnx.GraphProto:
        node = helper.make_node(op, ["x", "axes"], [name], name=f"in_{name}", keepdims=1)
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, ANY, None)])

    branches = {"then_branch": branch("ReduceMean", "a"), "else_branch": branch("ReduceMax", "b")}
    made = helper.make_graph(
        [helper.make_node("If", ["flag"], ["y"], name="if", **branches)],
        "g",
        [helper.make_tensor_value_info("x", ANY, SHAPE)],
        [helper.make_tensor_value_info("y", ANY, (2, 6, 1, 1))],
        [numpy_helper.from_array(np.array(True), "flag"), numpy_helper.from_array(AXES, "axes")],
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=8)
    graph = gs.import_onnx(proto)
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    before = run(graph, x)
    lower_opset(graph, 17)
    checked(graph)
    assert np.array_equal(run(graph, x), before)


def test_the_table_names_real_versions() -> None:
    for op, version in DOWNGRADES:
        assert onnx.defs.get_schema(op, version, "").since_version == version
        assert onnx.defs.has(op, version - 1, "")
    for op, version in WRITTEN:
        assert onnx.defs.get_schema(op, version, "").since_version == version
