from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcomp.errors import ModelError
from onnxcomp.model import from_proto
from onnxcomp.passes.distill import teachers
from tests import run
from tests.passes.distill.teachers.scene import TOLERANCE, alone, beside, proto, student, written

NAMES = tuple("abcdefghij")


def ending(name: str, *nodes: onnx.NodeProto, **constants: np.ndarray) -> onnx.ModelProto:
    """A network whose ``output`` goes through ``nodes``, the last of which gives ``end``."""
    made = proto(name, 13)
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    made.graph.output[0].name = "end"
    return made


def node(op: str, source: str = "output", to: str = "end", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, source.split(), [to], name=f"last/{op}", **attributes)


SQUEEZED = [
    node("Unsqueeze", "output axes", "high"),
    node("Softmax", "high", "likely", axis=1),
    node("Squeeze", "likely axes"),
]
QUANTIZED = [
    node("Softmax", to="likely"),
    node("QuantizeLinear", "likely scale zero", "q"),
    node("DequantizeLinear", "q scale zero"),
]


@pytest.mark.parametrize("name", ["mobilenet", "mlp"])
@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([node("Softmax", axis=1)], {}),
        ([node("Softmax")], {}),
        ([node("LogSoftmax", axis=-1)], {}),
        ([node("Softmax", to="likely"), node("Identity", "likely")], {}),
        (SQUEEZED, {"axes": np.array([2, 3])}),
        (QUANTIZED, {"scale": np.float32(1 / 255), "zero": np.uint8(0)}),
    ],
    ids=["softmax", "default axis", "logsoftmax", "identity", "squeezed", "quantized"],
)
def test_a_last_softmax_is_cut(
    tmp_path: Path, name: str, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]
) -> None:
    bare = written(proto(name, 13), tmp_path, "bare.onnx")
    constants = {key: np.asarray(value) for key, value in constants.items()}
    path = written(ending(name, *nodes, **constants), tmp_path)
    network = student(13)
    found, answers = beside(network, path)
    np.testing.assert_allclose(answers, alone(bare, run.images(network)), atol=TOLERANCE, rtol=0)
    assert [note for note in found.notes if note.endswith("is cut off")]
    assert not any("Softmax" in node.op for node in network.graph.nodes)


def test_a_softmax_inside_stays(tmp_path: Path) -> None:
    path = written(proto("vit"), tmp_path)
    network = student()
    beside(network, path)
    assert any(node.op == "Softmax" for node in network.graph.nodes)


@pytest.mark.parametrize(
    ("nodes", "what"),
    [
        ([node("Sigmoid")], "ends in Sigmoid (node last/Sigmoid)"),
        ([node("Sigmoid", to="likely"), node("Flatten", "likely")], "ends in Sigmoid (node last/Sigmoid)"),
        ([node("HardSigmoid")], "ends in HardSigmoid (node last/HardSigmoid)"),
        ([node("Hardmax")], "ends in Hardmax (node last/Hardmax)"),
        ([node("Softmax", axis=0)], "ends in a Softmax that is not over its classes (node last/Softmax)"),
        (
            [node("Exp", to="e"), node("ReduceSum", "e one", "sum", keepdims=1), node("Div", "e sum")],
            "ends in a Softmax written out in several nodes (the last is last/Div)",
        ),
    ],
    ids=["sigmoid", "flattened", "hardsigmoid", "hardmax", "over the batch", "written out"],
)
def test_other_probabilities_are_refused(tmp_path: Path, nodes: list[onnx.NodeProto], what: str) -> None:
    op = next(n.op_type for n in reversed(nodes) if n.op_type != "Flatten")
    path = written(ending("mobilenet", *nodes, one=np.array([1])), tmp_path)
    with pytest.raises(ModelError) as caught:
        teachers.read(path)
    assert str(caught.value) == f"{path}: {what}, but a teacher gives logits; export it without its last {op}"


def test_the_classes_come_in_the_students_order(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(10)
    teacher, network = from_proto(proto("densenet", 13)), student(21)
    teacher.classes, network.classes = tuple(NAMES[i] for i in order), NAMES
    path = written(teacher, tmp_path)
    found, answers = beside(network, path)
    own = alone(path, run.images(network))
    for index, name in enumerate(NAMES):
        expected = own[:, teacher.classes.index(name)]
        np.testing.assert_allclose(answers[:, index], expected, atol=TOLERANCE, rtol=0)
    assert "its classes are put in the network's order" in found.notes
    assert network.classes == NAMES


def test_the_same_order_adds_nothing(tmp_path: Path) -> None:
    teacher, network = from_proto(proto("mlp")), student()
    teacher.classes = network.classes = NAMES
    beside(network, written(teacher, tmp_path))
    assert not any(node.op == "Gather" for node in network.graph.nodes)


def test_logits_of_another_type_are_refused(tmp_path: Path) -> None:
    made = ending("mlp", node("ArgMax", axis=1, keepdims=1))
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    made.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    with pytest.raises(ModelError, match=r"output end is int64 .*; float32 \(N, classes\) is expected"):
        teachers.read(written(made, tmp_path))
