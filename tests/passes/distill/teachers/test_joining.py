from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcomp import pipeline, recipe
from onnxcomp.model import Form, Role, from_proto
from onnxcomp.passes.distill import teachers
from onnxcomp.passes.distill.ends import stage_ends
from onnxcomp.student import subgraph
from tests import classifiers, run
from tests.passes.distill.teachers.scene import NETWORKS, TOLERANCE, alone, beside, proto, student, written


@pytest.mark.parametrize("opsets", [(17, 17), (13, 21), (21, 13)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_teacher_answers_as_its_file_does(tmp_path: Path, name: str, opsets: tuple[int, int]) -> None:
    path = written(proto(name, opsets[0]), tmp_path)
    network = student(opsets[1])
    images = run.images(network)
    before = run.logits(network, images)
    found, answers = beside(network, path)
    np.testing.assert_allclose(answers, alone(path, images), atol=TOLERANCE, rtol=0)
    assert network.graph.opset == max(opsets)
    # A newer kernel may sum in another order: float32 rounding.
    np.testing.assert_allclose(run.logits(network, images), before, atol=1e-6, rtol=0)
    brought = [note for note in found.notes if "brought" in note]
    assert len(brought) == (opsets[0] != opsets[1])


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "vgg11_bn"])
def test_a_network_teaches_its_compressed_self(name: str) -> None:
    original = classifiers.network(name)
    network = original.copy()
    images = run.images(original)
    found = teachers.attach(network, [original], resize=False)
    assert original.graph.nodes  # untouched, BatchNormalization included
    assert any(node.op == "BatchNormalization" for node in original.graph.nodes)
    own = [node for node in network.graph.nodes if node.name.startswith("teacher/")]
    assert not any(node.op == "BatchNormalization" for node in own)
    answers = run.logits(subgraph(network, [found.logits.name]), images)
    np.testing.assert_allclose(answers, run.logits(original, images), atol=TOLERANCE, rtol=0)


def test_nothing_that_training_does_to_the_student_reaches_the_teacher(tmp_path: Path) -> None:
    original = from_proto(proto("densenet"))
    for constant in original.constants().values():
        constant.values = constant.values.copy()  # those of a file cannot be written
    network = original.copy()
    found = teachers.attach(network, [original], resize=False)
    images = run.images(network)
    part = subgraph(network, [found.logits.name])
    before = run.logits(part, images)
    own = {name: c for name, c in network.constants().items() if not name.startswith("teacher/")}
    addresses = {c.values.__array_interface__["data"][0] for c in own.values()}
    copies = [c for name, c in network.constants().items() if name.startswith("teacher/")]
    assert not addresses & {c.values.__array_interface__["data"][0] for c in copies}
    for constant in own.values():
        constant.values[...] = 0
    assert np.array_equal(run.logits(subgraph(network, [found.logits.name]), images), before)


def test_names_and_roles(tmp_path: Path) -> None:
    network = student()
    nodes = {node.name for node in network.graph.nodes}
    found, _ = beside(network, written(proto("densenet"), tmp_path))
    added = [node for node in network.graph.nodes if node.name not in nodes]
    assert all(node.name.startswith("teacher/") for node in added)
    assert all(tensor.name.startswith("teacher/") for node in added for tensor in node.outputs)
    constants = {tensor.name for tensor in network.constants().values() if tensor.name.startswith("teacher/")}
    assert constants == {name for name, role in network.roles.items() if role is Role.TEACHER}
    assert all(found.tensors[name].name == f"teacher/{name}" for name in found.tensors)
    assert found.logits.shape == ["N", 10]
    images = [node for node in added if any(tensor is network.image for tensor in node.inputs)]
    assert [node.op for node in images] == ["Conv"]


@pytest.mark.parametrize("name", ["densenet", "vgg", "mobilenet_v3"])
def test_what_a_folded_normalisation_gave_is_still_there(tmp_path: Path, name: str) -> None:
    path = written(proto(name), tmp_path)
    teacher = teachers.read(path)
    norms = [n.outputs[0].name for n in teacher.graph.nodes if n.op == "BatchNormalization"]
    network = student()
    found, _ = beside(network, path)
    images = run.images(network)
    assert norms
    for tensor in norms:
        expected = run.logits(subgraph(teacher, [tensor]), images)
        answers = run.logits(subgraph(network, [found.tensors[tensor].name]), images)
        np.testing.assert_allclose(answers, expected, atol=TOLERANCE, rtol=0, err_msg=tensor)


def test_ends_of_stages_are_found_in_the_adapted_network(tmp_path: Path) -> None:
    network = student()
    found, _ = beside(network, written(proto("densenet", 13, 1), tmp_path))
    ends = stage_ends(found.graphs[0].graph)
    assert [end.shape[1:] for end in ends] == [[32, 16, 16], [32, 8, 8]]
    assert all(found.tensors[end.name].shape == ["N", *end.shape[1:]] for end in ends)


def test_an_ensemble_answers_the_mean_of_the_logits(tmp_path: Path) -> None:
    names = ("densenet", "mobilenet", "vit")
    paths = [
        written(proto(name, opset), tmp_path, f"{name}.onnx")
        for name, opset in zip(names, (13, 17, 21), strict=True)
    ]
    network = student()
    found, answers = beside(network, *paths)
    images = run.images(network)
    expected = np.mean([alone(path, images) for path in paths], axis=0)
    np.testing.assert_allclose(answers, expected, atol=TOLERANCE, rtol=0)
    assert found.logits.name == "teacher/mean"
    assert network.graph.opset == 21
    assert len(found.graphs) == 3
    first = "/avgpool_output_0"  # all but the transformer have it
    assert found.tensors[first].name == found.tensors[f"0/{first}"].name == f"teacher/0/{first}"
    assert found.tensors[f"1/{first}"].name == f"teacher/1/{first}"
    assert f"2/{first}" not in found.tensors
    assert found.notes[0].startswith("teacher 0: teacher of ")


def test_one_file_may_come_twice(tmp_path: Path) -> None:
    path = written(proto("mobilenet"), tmp_path)
    network = student()
    _, answers = beside(network, path, path)
    np.testing.assert_allclose(answers, alone(path, run.images(network)), atol=1e-6, rtol=0)


def test_the_older_student_keeps_masks_pairs_roles_and_metadata(tmp_path: Path) -> None:
    network = pipeline.apply(student(13), recipe.parse("prune,qat"), calibration=run.Observed())
    before = network.copy()
    found, answers = beside(network, written(proto("vit", 21), tmp_path))
    assert network.graph.opset == 21
    images = run.images(network)
    np.testing.assert_allclose(answers, alone(tmp_path / "teacher.onnx", images), atol=TOLERANCE, rtol=0)
    kept = {node.name for node in network.graph.nodes}
    assert {node.name for node in before.graph.nodes} <= kept
    for name, constant in before.constants().items():
        assert np.array_equal(network.constants()[name].values, constant.values), name
    student_roles = {name: role for name, role in network.roles.items() if role is not Role.TEACHER}
    assert student_roles == before.roles
    assert (network.form, network.recipe, network.losses) == (Form.COMPRESSION, before.recipe, before.losses)
    after, expected = run.outputs(network, images), run.outputs(before, images)
    for name in expected:  # the same arithmetic, the same kernels
        assert np.array_equal(after[name], expected[name]), name
    assert "the network is brought from opset 13 to 21, its teacher's" in found.notes


def test_graphs_inside_nodes_are_copied_too(tmp_path: Path) -> None:
    network = student()
    path = written(_branching(17), tmp_path)
    _, answers = beside(network, path)
    np.testing.assert_allclose(answers, alone(path, run.images(network)), atol=1e-6, rtol=0)
    assert not any(node.name.startswith("teacher/teacher/") for node in network.graph.nodes)


def _branching(opset: int) -> onnx.ModelProto:
    """A network that reads its image in a branch of an If."""

    def branch(op: str, name: str) -> onnx.GraphProto:
        node = helper.make_node(op, ["input"], [name], name=f"in_{name}")
        return helper.make_graph(
            [node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]
        )

    made = proto("mlp", opset)
    choice = helper.make_node(
        "If", ["flag"], ["chosen"], name="if", then_branch=branch("Abs", "a"), else_branch=branch("Neg", "b")
    )
    nodes = [choice, *made.graph.node]
    nodes[1].input[0] = "chosen"
    made.graph.initializer.append(numpy_helper.from_array(np.array(True), "flag"))
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    made.graph.value_info.append(helper.make_tensor_value_info("chosen", TensorProto.FLOAT, ["N", 3, 16, 16]))
    return made
