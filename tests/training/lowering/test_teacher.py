"""The teacher's part and the rest, one behind the other, are the network they were cut from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import extras
from onnxcomp import model as models
from onnxcomp.model import IR_VERSION, LABELS, Model
from onnxcomp.training.engine import build
from onnxcomp.training.lowering import lower, lower_teacher
from onnxcomp.training.lowering.teacher import cut
from onnxcomp.training.phases import Phase
from tests import zoo
from tests.float64 import Float64
from tests.training import networks
from tests.training.lowering import forward

ALL = "hints=0.1 attention=1 relations=1 decoupled=1"


def taught(student: str, path: Path, options: str = ALL, teacher: str = "resnet") -> Model:
    models.save(models.from_proto((zoo.ALL | zoo.MORE)[teacher](size=networks.SIZE)), path)
    return networks.zoo_compression(student, f'distill{{teacher="{path}" {options}}}')


def run(graph: gs.Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of a graph by name, by ONNX Runtime."""
    proto = gs.export_onnx(graph, do_type_check=False)
    proto.ir_version = IR_VERSION
    session = extras.onnxruntime().InferenceSession(proto.SerializeToString())
    names = [entry.name for entry in session.get_inputs()]
    outputs = [entry.name for entry in session.get_outputs()]
    return dict(zip(outputs, session.run(outputs, {name: feeds[name] for name in names}), strict=True))


@pytest.mark.parametrize("options", [ALL, "labels=false alpha=1 decoupled=1"])
@pytest.mark.parametrize("student", ["densenet", "mobilenet", "vgg", "vit"])
def test_the_parts_one_behind_the_other_are_the_file(student: str, options: str, tmp_path: Path) -> None:
    model = taught(student, tmp_path / "t.onnx", options)
    assert set(model.losses) >= {"loss/soft_targets", "loss/decoupled"}
    images, labels = networks.batch()
    feeds = {model.image.name: images, LABELS: labels}
    rest = model.graph.copy()
    teacher = cut(rest, model.image.name)
    assert teacher is not None
    found = run(rest, {**feeds, **run(teacher, feeds)})
    forward.assert_same(found, run(model.graph, feeds), 1e-5)


@pytest.mark.parametrize("teacher", ["densenet", "mobilenet", "mobilenet_v3", "vit", "mlp"])
def test_a_step_with_teachers_of_other_kinds(teacher: str, tmp_path: Path) -> None:
    model = taught("resnet", tmp_path / "t.onnx", "hints=0.1 attention=1 decoupled=1", teacher)
    images, labels = networks.batch()
    losses = build(model, batch_size=networks.BATCH, threads=1).step(images, labels).losses
    expected = Float64(model, images, labels)({}, [*losses])
    # Of maps of one pixel, which all are 1, the loss of attention is 0 but for rounding.
    np.testing.assert_allclose([*losses.values()], expected, rtol=1e-5, atol=1e-9)


def test_what_crosses_is_named_and_typed(tmp_path: Path) -> None:
    model = taught("densenet", tmp_path / "t.onnx")
    graph = model.graph.copy()
    teacher = cut(graph, model.image.name)
    assert teacher is not None
    assert all(node.name.startswith("teacher/") for node in teacher.nodes)
    assert not [node for node in graph.nodes if node.name.startswith("teacher/")]
    outputs = {tensor.name for tensor in teacher.outputs}
    read = {tensor.name for node in graph.nodes for tensor in node.inputs}
    assert outputs == {tensor.name for tensor in graph.inputs if tensor.name.startswith("teacher/")}
    assert outputs <= read
    static = lower_teacher(model, networks.BATCH)
    assert static is not None
    for tensor in static.outputs:
        assert tensor.shape[0] == networks.BATCH
        assert np.dtype(tensor.dtype) in (np.float32, np.bool_)


def test_a_network_without_a_teacher_has_no_such_part() -> None:
    assert lower_teacher(networks.zoo_compression("resnet"), networks.BATCH) is None


def test_what_a_phase_does_not_read_is_not_computed(tmp_path: Path) -> None:
    model = taught("densenet", tmp_path / "t.onnx")
    whole = lower_teacher(model, 2)
    soft = lower_teacher(Phase(losses=(("loss/soft_targets", 1.0),)).of(model), 2)
    labels = lower_teacher(Phase(losses=(("loss/task", 1.0),)).of(model), 2)
    assert whole is not None
    assert soft is not None
    assert labels is None
    assert [tensor.name for tensor in soft.outputs] == ["teacher/loss/soft_targets/log_probability"]
    first = lower_teacher(Phase(losses=(("loss/boundary", 1.0),)).of(model), 2)
    assert first is not None
    assert len(first.nodes) < len(soft.nodes) < len(whole.nodes)


def test_the_model_keeps_its_teacher(tmp_path: Path) -> None:
    model = taught("resnet", tmp_path / "t.onnx")
    before = [node.name for node in model.graph.nodes]
    lower(model, networks.BATCH)
    lower_teacher(model, networks.BATCH)
    assert [node.name for node in model.graph.nodes] == before
