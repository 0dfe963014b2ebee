from __future__ import annotations

import onnx
import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.model import LOSS, Role
from onnxcomp.training.lowering import lower
from onnxcomp.training.ort.differentiable import OPERATORS, differentiable_path
from tests import zoo
from tests.training import networks

OWN = {"BatchNormInternal", "FakeQuant"}


def test_the_operators_exist() -> None:
    for op in OPERATORS - OWN:
        assert onnx.defs.has(op), op


@pytest.mark.parametrize("name", zoo.ALL)
def test_every_trainable_of_the_zoo_reaches_the_loss(name: str) -> None:
    passes = "distill" if name == "mlp" else "prune,qat,distill"
    training = lower(networks.zoo_compression(name, passes), 2)
    trainables = training.names(Role.TRAINABLE)
    assert differentiable_path(training.graph, trainables, LOSS) == trainables


def test_a_weight_that_is_cut_off_is_left_out() -> None:
    net = networks.Builder(0)
    x = networks.conv(net, "input", "cut", 3, 4)
    x = net.node("Cast", [net.node("Cast", [x], "whole", to=onnx.TensorProto.INT64)], "back", to=1)
    x = networks.conv(net, x, "conv", 4, 4)
    proto = net.model(networks.head(net, x, "fc", 4, 10), 17, ("N", 3, 8, 8), 10)
    training = lower(networks.compression(proto), 2)
    reached = differentiable_path(training.graph, training.names(Role.TRAINABLE), LOSS)
    assert sorted(reached) == ["conv.weight", "fc.bias", "fc.weight"]


def test_no_weight_reaches_the_loss() -> None:
    training = lower(networks.zoo_compression("resnet"), 2)
    with pytest.raises(TrainingError, match="no trainable tensor reaches the loss"):
        differentiable_path(training.graph, [], LOSS)


def test_batch_norm_of_which_the_statistics_are_no_parameters_is_named() -> None:
    model = networks.zoo_compression("densenet")
    model.roles["features.norm0.running_mean"] = Role.TEACHER
    training = lower(model, 2)
    with pytest.raises(TrainingError, match=r"features.norm0.*BatchNormalization has no gradient"):
        differentiable_path(training.graph, training.names(Role.TRAINABLE), LOSS)
