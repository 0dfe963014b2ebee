"""The teacher beside the student."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp import model as models
from onnxcomp import recipe as recipes
from onnxcomp.errors import PassError
from onnxcomp.model import Role
from tests import run, zoo


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
    constants = {n for n in compressed.constants() if n.startswith("teacher/")}
    assert constants == {n for n, r in compressed.roles.items() if r is Role.TEACHER}


def test_options_choose_the_terms() -> None:
    model = models.from_proto(zoo.resnet())
    weights = pipeline.apply(model, recipes.parse("distill{alpha=0.9 beta=0}")).losses
    assert weights == pytest.approx({"loss/task": 0.1, "loss/soft_targets": 0.9})
    weights = pipeline.apply(model, recipes.parse("distill{alpha=0 beta=2}")).losses
    assert weights == {"loss/task": 1, "loss/boundary": 2}
    with pytest.raises(PassError, match="alpha and beta are both 0"):
        pipeline.apply(model, recipes.parse("distill{alpha=0 beta=0}"))


def test_a_network_without_stages_says_that_it_has_no_boundary() -> None:
    steps: list[pipeline.Step] = []
    result = pipeline.apply(models.from_proto(zoo.mlp()), recipes.parse("distill"), report=steps.append)
    assert any("no activation boundary" in note for note in steps[0].change.notes)
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
