"""Tests of onnxcomp.training.groups."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.model import Role
from onnxcomp.training.groups import Groups, Setting, is_vector
from tests.training.networks import zoo_compression

PARAMETERS = {
    name: np.zeros(shape, np.float32)
    for name, shape in {
        "features.0.weight": (8, 3, 3, 3),
        "features.0.bias": (8,),
        "features.1.scale": (1, 8, 1, 1),
        "head.weight": (10, 8),
        "onnx::Conv[3]": (8, 8, 1, 1),
    }.items()
}


def settings(**options):
    return Groups.parse(**options).settings(PARAMETERS, 0.1)


def test_vectors_do_not_decay_and_all_learn_alike():
    assert settings() == {
        "features.0.weight": Setting(0.1, 1.0),
        "features.0.bias": Setting(0.0, 1.0),
        "features.1.scale": Setting(0.0, 1.0),
        "head.weight": Setting(0.1, 1.0),
        "onnx::Conv[3]": Setting(0.1, 1.0),
    }


def test_vectors_decay_where_asked_for_but_not_what_a_pattern_excludes():
    found = settings(decay_vectors=True, no_decay=["*.bias", "head.*"])
    decayed = [name for name, setting in found.items() if setting.weight_decay]
    assert decayed == ["features.0.weight", "features.1.scale", "onnx::Conv[3]"]


def test_the_last_factor_that_matches_counts():
    found = settings(lr_scale=["*=0.5", "features.*=0.1", "features.0.*=0"])
    assert [setting.lr_scale for setting in found.values()] == [0.0, 0.0, 0.1, 0.5, 0.5]


def test_a_name_matches_itself_whatever_is_in_it():
    found = settings(no_decay=["onnx::Conv[3]"], lr_scale=["onnx::Conv[3]=2"])
    assert found["onnx::Conv[3]"] == Setting(0.0, 2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"no_decay": ["Head.*"]},
            r"--no-decay: 'Head\.\*' matches no tensor that is trained; the nearest are head",
        ),
        ({"lr_scale": ["feature.0.weight=0.1"]}, "--lr-scale: .* the nearest are features.0.weight, "),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused(options, message):
    with pytest.raises(TrainingError, match=message):
        settings(**options)


@pytest.mark.parametrize("text", ["features.*", "=0.1", "features.*=fast", "features.*="])
def test_a_factor_must_be_readable(text):
    with pytest.raises(TrainingError, match=r"--lr-scale: .* is not pattern=factor; for example 'features"):
        Groups.parse(lr_scale=[text])


@pytest.mark.parametrize("factor", [-0.1, math.inf, math.nan])
def test_a_factor_must_be_in_range(factor):
    with pytest.raises(TrainingError, match=r"--lr-scale: .* is out of range; give a factor of 0 or more"):
        Groups.parse(lr_scale=[f"features.*={factor}"])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((), True), ((1,), True), ((5,), True), ((1, 5, 1, 1), True), ((2, 5), False), ((5, 1, 3, 3), False)],
)
def test_is_vector(shape, expected):
    assert is_vector(np.zeros(shape)) == expected


@pytest.mark.parametrize("network", ["densenet", "resnet", "mobilenet", "mlp"])
def test_weights_of_layers_decay_and_the_rest_does_not(network):
    model = zoo_compression(network)
    constants = model.constants()
    trained = {n: constants[n].values for n, role in model.roles.items() if role is Role.TRAINABLE}
    decayed = {n for n, setting in Groups().settings(trained, 1.0).items() if setting.weight_decay}
    weights = {
        tensor.name
        for node in model.graph.nodes
        if node.op in ("Conv", "Gemm", "MatMul")
        for tensor in node.inputs[:2]
        if tensor.name in trained
    }
    assert decayed == weights
