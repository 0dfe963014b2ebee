"""Ends of stages, read from the graph alone."""

from __future__ import annotations

from onnxcomp import model as models
from onnxcomp.models import build
from onnxcomp.passes.distill.ends import stage_ends
from tests import zoo


def ends(model: models.Model) -> list[str]:
    return [tensor.inputs[0].name for tensor in stage_ends(model.graph)]


def test_densenet_ends_at_the_norm_after_each_dense_block() -> None:
    found = ends(models.from_proto(zoo.densenet()))
    assert found == ["/features/transition1/norm/BatchNormalization", "/features/norm5/BatchNormalization"]


def test_densenet201_has_four_and_no_stem() -> None:
    found = ends(build("densenet201", num_classes=10, input_size=64))
    assert found == [
        "features.transition1.norm",
        "features.transition2.norm",
        "features.transition3.norm",
        "features.norm5",
    ]


def test_resnet_ends_at_the_last_sum_of_each_stage() -> None:
    assert ends(models.from_proto(zoo.resnet())) == [
        "/layer1/layer1.0/Add",
        "/layer2/layer2.0/Add",
    ]


def test_a_network_without_stages_has_none() -> None:
    assert ends(models.from_proto(zoo.mlp())) == []
