"""The teacher beside the student."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp import model as models
from onnxcomp import recipe as recipes
from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.deploy.targets import get_target
from onnxcomp.errors import OnnxcompError, PassError
from onnxcomp.losses import TASK
from onnxcomp.model import Model, Role
from onnxcomp.training.engine import build
from tests import run, zoo
from tests.training import networks


@pytest.mark.parametrize("network", zoo.ALL)
def test_the_teacher_answers_as_the_original(network: str) -> None:
    model = models.from_proto(zoo.ALL[network]())
    compressed = pipeline.apply(model, recipes.parse("distill"))
    teacher = compressed.graph.tensors()[f"teacher/{model.logits.name}"]
    compressed.graph.outputs = [*compressed.graph.outputs, teacher]
    images = run.images(model)
    found = run.outputs(compressed, images)[teacher.name]
    np.testing.assert_allclose(found, run.logits(model, images), atol=1e-6)


def test_a_student_equal_to_its_teacher_has_no_soft_target_loss() -> None:
    compressed = pipeline.apply(models.from_proto(zoo.resnet()), recipes.parse("distill"))
    found = run.outputs(compressed, run.images(compressed))
    assert abs(found["loss/soft_targets"]) < 1e-6
    assert found["loss/boundary"] > 0  # the margin wants more than the same sign


def test_the_teacher_has_no_masks_and_no_qdq() -> None:
    compressed = pipeline.apply(
        models.from_proto(zoo.densenet()), recipes.parse("prune,qat,distill"), calibration=run.Observed()
    )
    teacher = [node for node in compressed.graph.nodes if node.name.startswith("teacher/")]
    assert teacher
    assert not {node.op for node in teacher} & {"QuantizeLinear", "DequantizeLinear"}
    assert not any("prune" in node.name for node in teacher)
    shared = [
        tensor.name for node in teacher for tensor in node.inputs if not tensor.name.startswith("teacher/")
    ]
    assert set(shared) == {compressed.image.name}
    constants = {n for n in compressed.constants() if n.startswith("teacher/") and "/loss/" not in n}
    assert constants == {n for n, r in compressed.roles.items() if r is Role.TEACHER}


def test_options_choose_the_terms() -> None:
    model = models.from_proto(zoo.resnet())
    weights = pipeline.apply(model, recipes.parse("distill{alpha=0.9 boundary=0}")).losses
    assert weights == pytest.approx({"loss/task": 0.1, "loss/soft_targets": 0.9})
    weights = pipeline.apply(model, recipes.parse("distill{alpha=0 boundary=2}")).losses
    assert weights == {"loss/task": 1, "loss/boundary": 2}
    with pytest.raises(PassError, match="no loss but that of the labels has a weight"):
        pipeline.apply(model, recipes.parse("distill{alpha=0 boundary=0}"))


def test_a_network_without_stages_says_that_it_has_no_boundary() -> None:
    steps: list[pipeline.Step] = []
    result = pipeline.apply(models.from_proto(zoo.mlp()), recipes.parse("distill"), report=steps.append)
    assert any("no boundary" in note for note in steps[0].change.notes)
    assert "loss/boundary" not in result.losses
    assert all(graphs.is_student(n) or n.name.startswith(("teacher/", "loss/")) for n in result.graph.nodes)


def test_a_pruned_network_is_no_teacher() -> None:
    pruned = pipeline.apply(models.from_proto(zoo.resnet()), recipes.parse("prune"))
    name, mask = next(iter(graphs.masks(pruned.graph).items()))
    mask.values = np.zeros_like(mask.values)
    pipeline.apply(pruned, recipes.parse("distill"))  # masked alone: the teacher reads the weight itself
    weight = pruned.constants()[name]
    weight.values = np.zeros_like(weight.values)  # as training leaves it
    with pytest.raises(PassError, match=r"the teacher would be pruned: .* or before training"):
        pipeline.apply(pruned, recipes.parse("distill"))


def test_the_teacher_of_a_network_pruned_in_one_shot_is_dense() -> None:
    model = models.from_proto(zoo.resnet())
    result = pipeline.apply(model, recipes.parse("prune{schedule=one-shot},distill"))
    assert any((mask.values == 0).any() for mask in graphs.masks(result.graph).values())
    images = run.images(model)
    answer = run.logits(model, images)
    assert not np.allclose(run.logits(result, images), answer, atol=1e-3)
    names = {tensor.name: tensor for tensor in result.graph.tensors().values()}
    result.graph.outputs.append(names[f"teacher/{model.logits.name}"])
    # The same kernels on the same weights.
    np.testing.assert_array_equal(run.outputs(result, images)[f"teacher/{model.logits.name}"], answer)


SIZE = 8


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    path = tmp_path / "teacher.onnx"
    models.save(models.from_proto(zoo.resnet(size=SIZE)), path)
    return path


def learning(network: str, teacher: Path, options: str = "", passes: str = "") -> Model:
    return networks.zoo_compression(network, f'{passes}distill{{teacher="{teacher}" {options}}}')


HIDDEN = "alpha=0.5 boundary=0.1 hints=0.3 attention=2"


@pytest.mark.parametrize("network", ["densenet", "mobilenet"])
def test_connectors_are_trained_and_never_deployed(network: str, teacher: Path) -> None:
    compressed = learning(network, teacher, HIDDEN)
    model = models.from_proto(zoo.ALL[network](size=SIZE))
    connectors = {n: r for n, r in compressed.roles.items() if n.startswith(graphs.CONNECTOR_PREFIX)}
    assert set(connectors.values()) == {Role.TRAINABLE, Role.STATISTIC}
    images = run.images(model)
    np.testing.assert_array_equal(run.logits(compressed, images), run.logits(model, images))
    deployed, _ = finalize_report(compressed, get_target("ort-cpu"))
    names = {node.name for node in deployed.graph.nodes} | set(deployed.graph.tensors())
    assert not [name for name in names if name.startswith((graphs.LOSS_PREFIX, graphs.TEACHER_PREFIX))]
    # The BatchNormalization that is folded reorders float32 sums.
    np.testing.assert_allclose(run.logits(deployed, images), run.logits(model, images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("passes", ["", "prune,qat,"])
@pytest.mark.parametrize("network", ["densenet", "mobilenet"])
def test_gradients_through_connectors(network: str, passes: str, teacher: Path) -> None:
    networks.assert_gradients(learning(network, teacher, HIDDEN, passes))


def test_gradients_reach_the_student_and_the_connectors_alone(teacher: Path) -> None:
    compressed = learning("densenet", teacher, HIDDEN)
    engine = build(compressed, batch_size=networks.BATCH, threads=1)
    engine.step(*networks.batch(size=SIZE))
    trained = {n for n, role in compressed.roles.items() if role is Role.TRAINABLE}
    assert set(engine.gradients) == trained
    assert all(gradient.any() for gradient in engine.gradients.values())
    assert not [name for name in engine.parameters if name.startswith(graphs.TEACHER_PREFIX)]


def test_the_file_s_total_is_that_of_the_last_stage(teacher: Path) -> None:
    stages = '[{"losses":{"boundary":1},"steps":0.5},{"losses":{"task":0.25,"soft_targets":0.75}}]'
    compressed = learning("densenet", teacher, f"stages={stages}")
    assert compressed.losses == {"loss/task": 0.25, "loss/boundary": 0.0, "loss/soft_targets": 0.75}
    found = run.outputs(compressed, run.images(compressed))
    expected = 0.25 * found["loss/task"] + 0.75 * found["loss/soft_targets"]
    assert found["loss/boundary"] > 0
    assert found["loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("options", ["", "decoupled=1 relations=1"])
def test_without_labels_the_file_has_no_input_for_them(options: str, teacher: Path) -> None:
    compressed = learning("densenet", teacher, f"labels=false {options}")
    assert [tensor.name for tensor in compressed.graph.inputs] == [compressed.image.name]
    assert TASK not in compressed.losses
    assert np.isfinite(run.outputs(compressed, run.images(compressed))["loss"])


REFUSED = {
    'stages=[{"losses":{"task":1}}] alpha=0.9': "alpha and stages are both given",
    'stages=[{"losses":{"task":1}}]': "no loss but that of the labels has a weight",
    'stages=[{"losses":{"task":1,"hints":1}}] labels=false': "a stage has the loss task, but labels is false",
    'stages=[{"losses":{}}]': "stage 1 has no loss",
    'teacher="no/such.onnx"': "there is no such file",
    "relations=1 distance=0 angle=0": "distance and angle are both 0",
    "decoupled=1 target_weight=0 others_weight=0": "target_weight and others_weight are both 0",
}


@pytest.mark.parametrize(("options", "what"), REFUSED.items())
def test_refusals_come_before_any_pass_has_worked(options: str, what: str) -> None:
    done: list[pipeline.Step] = []
    model = models.from_proto(zoo.resnet())
    with pytest.raises(OnnxcompError, match=what):
        pipeline.apply(model, recipes.parse(f"prune,distill{{{options}}}"), report=done.append)
    assert not done


def test_a_stage_whose_losses_find_no_pairs_is_refused() -> None:
    stages = '[{"losses":{"boundary":1},"steps":0.5},{"losses":{"soft_targets":1}}]'
    with pytest.raises(PassError, match="stage 1 has no loss left: there are no pairs for boundary"):
        pipeline.apply(models.from_proto(zoo.mlp()), recipes.parse(f"distill{{stages={stages}}}"))
