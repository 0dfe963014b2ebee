from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcomp.training.lowering import lower
from onnxcomp.training.lowering.views import LOWERING, bind_views
from onnxcomp.training.ort.gradients import differentiate
from tests.training import networks


def info(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def graph(
    *extra: onnx.NodeProto, outputs: tuple[str, ...] = ("y",), target: tuple[int, ...] = (2, -1)
) -> onnx.GraphProto:
    """``y = matrix(w) @ x`` and the gradient of ``w``, as the gradient builder writes it."""
    nodes = [
        helper.make_node("Reshape", ["w", "matrix"], ["v"]),
        helper.make_node("MatMul", ["v", "x"], ["y"]),
        helper.make_node("Gemm", ["g", "x"], ["dv"], transB=1),
        helper.make_node("Reshape", ["dv", "whole"], ["w_grad"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(target, np.int64), "matrix"),
        numpy_helper.from_array(np.array([2, 3, 1, 1], np.int64), "whole"),
    ]
    inputs = [info("w", 2, 3, 1, 1), info("x", 3, 4), info("g", 2, 4)]
    written = [info("y", 2, 4), info("w_grad", 2, 3, 1, 1), *(info(name, 2, 3) for name in outputs[1:])]
    return helper.make_graph([*nodes, *extra], "g", inputs, written, constants)


def shape(entry: onnx.ValueInfoProto) -> list[int]:
    return [d.dim_value for d in entry.type.tensor_type.shape.dim]


def test_a_weight_and_its_gradient_take_the_shape_of_the_product() -> None:
    found = graph()
    assert bind_views(found) == 2
    assert [(n.op_type, list(n.input), list(n.output)) for n in found.node] == [
        ("MatMul", ["w", "x"], ["y"]),
        ("Gemm", ["g", "x"], ["w_grad"]),
    ]
    assert [shape(entry) for entry in (found.input[0], found.output[1])] == [[2, 3], [2, 3]]
    onnx.checker.check_graph(found)


def test_another_reader_of_the_gradient_reads_it_under_its_new_name() -> None:
    found = graph(helper.make_node("Neg", ["dv"], ["z"]))
    bind_views(found)
    assert list(found.node[-1].input) == ["w_grad"]


@pytest.mark.parametrize(
    "found",
    [
        graph(helper.make_node("Neg", ["w"], ["z"])),  # read as it is, too
        graph(outputs=("y", "v")),  # the view itself is asked for
        graph(target=(0, -1)),  # a shape that copies from its input's
    ],
)
def test_left_alone(found: onnx.GraphProto) -> None:
    before = found.SerializeToString(deterministic=True)
    assert bind_views(found) == 0
    assert found.SerializeToString(deterministic=True) == before


def test_no_convolution_weight_of_a_dense_block_is_copied() -> None:
    training = lower(networks.zoo_compression("densenet", size=8), networks.BATCH)
    proto, _ = differentiate(training)
    inputs = {entry.name for entry in proto.graph.input}
    assert not [node for node in proto.graph.node if node.op_type == "Reshape" and node.input[0] in inputs]
    (hit,) = [rewrite for rewrite in training.rewrites if rewrite.name == LOWERING.name]
    assert hit.nodes > 10
