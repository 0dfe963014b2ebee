from __future__ import annotations

from pathlib import Path

import pytest

from onnxcomp.errors import ModelError, PassError
from onnxcomp.model import Model, Preprocessing, from_proto
from onnxcomp.passes.distill import teachers
from tests.passes.distill.teachers.scene import proto, student, written
from tests.passes.distill.teachers.test_joining import _branching

NAMES = tuple("abcdefghij")
SAID = Preprocessing((125.3, 123.0, 113.9), (63.0, 62.1, 66.7))


def refusal(teacher: Model, network: Model, *, resize: bool = False) -> str:
    teacher.graph.name = "t.onnx"
    nodes = len(network.graph.nodes)
    with pytest.raises((ModelError, PassError)) as caught:
        teachers.check(teacher, network, resize=resize)
    with pytest.raises((ModelError, PassError)) as again:
        teachers.attach(network, [teacher], resize=resize)
    assert str(again.value) == str(caught.value)
    assert len(network.graph.nodes) == nodes  # nothing was added
    return str(caught.value)


def test_another_number_of_classes() -> None:
    assert refusal(from_proto(proto("mobilenet", classes=5)), student()) == (
        "distill: teacher t.onnx: has 5 classes, the network 10; give a teacher of the network's classes"
    )


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ((*"abcx", *"efghij"), "its class 3 is 'x', which the network does not have"),
        ((*"abca", *"efghij"), "its class 3 is 'a' again"),
    ],
)
def test_other_names_of_classes(names: tuple[str, ...], what: str) -> None:
    teacher, network = from_proto(proto("mobilenet")), student()
    teacher.classes, network.classes = names, NAMES
    assert refusal(teacher, network) == (
        f"distill: teacher t.onnx: {what}; give a teacher of the network's classes"
    )


def test_a_teacher_need_not_say_what_the_network_says() -> None:
    teacher, network = from_proto(proto("mobilenet")), student()
    network.classes, network.preprocessing = NAMES, SAID
    teachers.check(teacher, network, resize=False)


def test_what_the_teacher_says_the_network_says_too() -> None:
    """Else the data's word is taken for the network later, and the teacher sees and means something else."""
    teacher = from_proto(proto("mobilenet"))
    teacher.classes = NAMES
    assert refusal(teacher, student()) == (
        "distill: teacher t.onnx: names its classes, and the network does not;"
        " give --data, so that their order is known"
    )
    teacher.preprocessing = SAID
    assert refusal(teacher, student()) == (
        "distill: teacher t.onnx: says how its images are normalised, and the network does not;"
        " give --data or --preprocess, so that it is known how the two differ"
    )


def test_other_channels() -> None:
    assert refusal(from_proto(proto("mobilenet", channels=1)), student(), resize=True) == (
        "distill: teacher t.onnx: takes images of 1 channel, the network of 3;"
        " give a teacher for the network's images"
    )


def test_another_image_size_unless_resize() -> None:
    teacher = from_proto(proto("mobilenet", size=24))
    assert refusal(teacher, student()) == (
        "distill: teacher t.onnx: takes images of 24x24, the network of 16x16;"
        " let it see them scaled: --set distill.resize=true"
    )
    teachers.check(teacher, student(), resize=True)


def test_an_opset_that_cannot_be_reached(tmp_path: Path) -> None:
    teacher = teachers.read(written(_branching(17), tmp_path))
    assert refusal(teacher, student(21)) == (
        "distill: teacher t.onnx: cannot be brought from opset 17 to opset 21 (node if (If) holds a graph);"
        " export it with opset 21, or the other network with opset 17"
    )


def test_a_student_that_cannot_be_brought_up() -> None:
    network = from_proto(_branching(17))
    assert refusal(from_proto(proto("vit", 20)), network).startswith(
        "distill: the network: cannot be brought from opset 17 to opset 20 (node if (If) holds a graph)"
    )


def test_nothing_is_changed() -> None:
    teacher, network = from_proto(proto("vit", 17, 1)), student(21)
    shapes = {name: tensor.shape for name, tensor in teacher.graph.tensors().items()}
    teachers.check(teacher, network, resize=False)
    assert {name: tensor.shape for name, tensor in teacher.graph.tensors().items()} == shapes
    assert (teacher.graph.opset, teacher.batch) == (17, 1)
