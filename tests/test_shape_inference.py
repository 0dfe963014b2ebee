from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcomp.shape_inference import infer_shapes


def network() -> onnx.ModelProto:
    """Two group norms, a Relu behind each."""
    nodes = [
        helper.make_node("GroupNormalization", ["x", "v", "v"], ["a"], name="a", num_groups=2),
        helper.make_node("Relu", ["a"], ["b"], name="b"),
        helper.make_node("GroupNormalization", ["b", "v", "v"], ["c"], name="c", num_groups=4),
        helper.make_node("Flatten", ["c"], ["y"], name="y"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 8, 3, 3))
    y = helper.make_empty_tensor_value_info("y")
    vector = numpy_helper.from_array(np.ones(8, np.float32), "v")
    graph = helper.make_graph(nodes, "g", [x], [y], [vector])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_shapes_behind_group_normalization_are_known() -> None:
    proto = network()
    before = proto.SerializeToString()
    done = infer_shapes(proto, strict_mode=True)
    found = {
        value.name: tuple(d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim)
        for value in (*done.graph.value_info, *done.graph.output)
    }
    assert found == dict.fromkeys("abc", ("N", 8, 3, 3)) | {"y": ("N", 72)}
    assert [node.op_type for node in done.graph.node] == [node.op_type for node in proto.graph.node]
    assert proto.SerializeToString() == before


def test_a_broken_network_is_refused_and_stays() -> None:
    proto = network()
    proto.graph.node[1].op_type = "Reshape"  # without its shape
    before = proto.SerializeToString()
    with pytest.raises(onnx.shape_inference.InferenceError):
        infer_shapes(proto, strict_mode=True)
    assert proto.SerializeToString() == before
