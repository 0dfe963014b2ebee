from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.model import LOSS, Model, Role
from onnxcomp.training.lowering import lower
from onnxcomp.training.ort.differentiable import OPERATORS, differentiable_path
from tests import zoo
from tests.builder import Builder
from tests.training import networks
from tests.training.probes import Write, float32, node, probe

OWN = {"BatchNormInternal", "FakeQuant"}


def test_the_operators_exist() -> None:
    for op in OPERATORS - OWN:
        assert onnx.defs.has(op), op


@pytest.mark.parametrize("name", zoo.ALL | zoo.MORE)
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


def assert_refused(model: Model, message: str) -> None:
    training = lower(model, 2)
    with pytest.raises(TrainingError, match=rf"^node tested: {message}, and the weights before it"):
        differentiable_path(training.graph, training.names(Role.TRAINABLE), LOSS)


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("message", "write", "shapes"),
    [
        ("its operator Floor has no gradient", node("Floor"), [(2, 3)]),
        ("its operator ConvTranspose has no gradient", node("ConvTranspose"), [(1, 2, 4, 4), (2, 3, 3, 3)]),
        (
            "its operator Resize has no gradient",
            node("Resize", ..., None, float32(1, 1, 2, 2), mode="nearest"),
            [(1, 2, 3, 3)],
        ),
        ("its operator ReduceProd has no gradient", node("ReduceProd"), [(2, 3)]),
        ("Pow has no gradient in ONNX Runtime Training by its input 1", node("Pow"), [(2, 3), (2, 3)]),
        ("Pow has no gradient .* by its input 1", node("Pow", float32(2), ...), [(2, 3)]),
        ("MatMul of a vector has no gradient", node("MatMul"), [(2, 3), (3,)]),
        (
            "AveragePool with dilations has no gradient",
            node("AveragePool", kernel_shape=[2, 2], dilations=[2, 2]),
            [(1, 2, 6, 6)],
        ),
        (
            "ScatterElements with reduction=add has no gradient",
            node("ScatterElements", ..., [[0, 0]], ..., reduction="add"),
            [(2, 3), (1, 2)],
        ),
    ],
)
def test_what_has_no_gradient_is_refused_by_name(
    message: str, write: Write, shapes: list[tuple[int, ...]]
) -> None:
    """One line that names the node, before anything is built."""
    values = [RNG.uniform(0.5, 1.5, shape) for shape in shapes]
    assert_refused(probe(write, *values, opset=19), f"{message}.*")


def test_a_split_of_which_a_part_ends_in_integers_is_refused() -> None:
    def write(net: Builder, names: list[str]) -> str:
        node("Split", ..., [1, 2], outputs=2, axis=1)(net, names)
        whole = net.node("Cast", ["result1"], "whole", "whole", to=onnx.TensorProto.INT64)
        back = net.node("Cast", [whole], "back", "back", to=onnx.TensorProto.FLOAT)
        return net.node("Concat", ["result0", back], "both", "both", axis=1)

    assert_refused(probe(write, RNG.standard_normal((2, 3))), "Split of which a part does not lead .*")
