from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from onnxcomp.training.lowering.edit import MICROSOFT
from onnxcomp.training.lowering.merge_masks import merge_masks


def masked(gradient: str, mask: str, output: str) -> onnx.NodeProto:
    return helper.make_node("FakeQuantGrad", [gradient, mask], [output], domain=MICROSOFT)


def graph(nodes: list[onnx.NodeProto], *outputs: str) -> onnx.GraphProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in outputs]
    return helper.make_graph(nodes, "g", [], values)


def listed(found: onnx.GraphProto) -> list[tuple[str, list[str], str]]:
    return [(node.op_type, list(node.input), node.output[0]) for node in found.node]


def test_two_in_a_row_become_one() -> None:
    found = graph([masked("g", "a", "x"), masked("x", "b", "y")], "y")
    assert merge_masks(found) == 1
    assert listed(found) == [("And", ["a", "b"], "y.mask"), ("FakeQuantGrad", ["g", "y.mask"], "y")]
    assert found.node[1].domain == MICROSOFT


def test_one_that_another_node_or_the_caller_reads_stays() -> None:
    nodes = [masked("g", "a", "x"), masked("x", "b", "y")]
    shared = graph([*nodes, helper.make_node("Neg", ["x"], ["z"])], "y", "z")
    output = graph(nodes, "x", "y")
    for found in (shared, output):
        before = listed(found)
        assert merge_masks(found) == 0
        assert listed(found) == before


def test_of_three_in_a_row_two_become_one() -> None:
    found = graph([masked("g", "a", "x"), masked("x", "b", "y"), masked("y", "c", "z")], "z")
    assert merge_masks(found) == 1
    assert [op for op, _, _ in listed(found)] == ["And", "FakeQuantGrad", "FakeQuantGrad"]
