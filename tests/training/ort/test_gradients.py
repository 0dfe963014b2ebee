"""Gradients of the whole compression loss against float64 central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.model import LOSS, Role
from onnxcomp.training.engine import build
from onnxcomp.training.lowering import lower
from onnxcomp.training.ort.gradients import differentiate
from tests.training import networks
from tests.training.networks import TOLERANCE, assert_gradients


@pytest.mark.parametrize("passes", ["", "prune", "qat", "distill", "prune,qat,distill"])
@pytest.mark.parametrize("name", ["densenet", "resnet"])
def test_every_combination(name: str, passes: str) -> None:
    assert_gradients(networks.zoo_compression(name, passes))


def test_depthwise_and_clip() -> None:
    assert_gradients(networks.zoo_compression("mobilenet", "prune,qat,distill"))


def test_gemm_and_matmul() -> None:
    assert_gradients(networks.zoo_compression("mlp", "qat,distill"))


@pytest.mark.parametrize(
    ("name", "opset"), [("vit", 13), ("vit", 17), ("vit", 21), ("mobilenet_v3", 13), ("mobilenet_v3", 18)]
)
def test_opsets_in_which_operators_have_other_forms(name: str, opset: int) -> None:
    """LayerNormalization, Gelu and HardSwish as one node or several; axes as attribute or input."""
    assert_gradients(networks.zoo_compression(name, "prune,qat,distill", opset=opset))


@pytest.mark.parametrize("passes", ["", "distill"])
@pytest.mark.parametrize("name", ["vgg", "vit"])
def test_before_it_is_compressed(name: str, passes: str) -> None:
    assert_gradients(networks.zoo_compression(name, passes))


def test_a_step_moves_every_parameter_of_a_transformer() -> None:
    """Class token, position embedding and LayerNormalization too; a masked weight stays where it is."""
    model = networks.zoo_compression("vit", "prune,qat,distill")
    engine = build(model, batch_size=networks.BATCH, threads=1)
    networks.disturb(engine, model)
    engine.step(*networks.batch())
    assert {"cls_token", "pos_embed", "norm.weight", "blocks.0.norm1.bias"} <= set(engine.gradients)
    assert all(gradient.any() for gradient in engine.gradients.values())
    first = engine.step(*networks.batch()).losses[LOSS]
    for name, gradient in engine.gradients.items():
        engine.parameters[name] -= 0.01 * gradient
    assert engine.step(*networks.batch()).losses[LOSS] < first


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_folded_residual_with_max_pool_and_stride(opset: int) -> None:
    assert_gradients(networks.compression(networks.residual(opset), "prune,qat,distill"))


@pytest.mark.parametrize("opset", [13, 21])
def test_opsets_of_densenet(opset: int) -> None:
    assert_gradients(networks.zoo_compression("densenet", "prune,qat,distill", opset=opset))


POOL: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2]}
NODES: dict[str, dict[str, Any]] = {
    "average pool, padding counted": {"op": "AveragePool", "pads": [1] * 4, "count_include_pad": 1, **POOL},
    "average pool, padding not counted": {"op": "AveragePool", "pads": [1] * 4, **POOL},
    "average pool, uneven": {"op": "AveragePool", **POOL},
    "max pool, uneven padding": {"op": "MaxPool", "pads": [0, 1, 1, 0], **POOL},
    "max pool, dilated": {"op": "MaxPool", "kernel_shape": [2, 2], "dilations": [2, 2]},
    "sum": {"op": "Sum", "extra": ("+", "+")},
    "sum of one": {"op": "Sum"},
    "mean": {"op": "Mean", "extra": ("+",)},
    "hard sigmoid": {"op": "HardSigmoid", "alpha": 0.3, "beta": 0.4},
    "hard swish": {"op": "HardSwish"},
    "clip": {"op": "Clip", "extra": ("-0.5", "0.5")},
    "transpose": {"op": "Transpose", "perm": [0, 1, 3, 2]},
}


@pytest.mark.parametrize("name", NODES)
def test_single_nodes(name: str) -> None:
    assert_gradients(networks.compression(networks.around(**NODES[name])))


def test_masked_weights_have_zero_gradient() -> None:
    model = networks.zoo_compression("densenet", "prune,qat,distill")
    engine = build(model, batch_size=networks.BATCH, threads=1)
    networks.disturb(engine, model)
    engine.step(*networks.batch())
    masks = [name for name, role in model.roles.items() if role is Role.MASK]
    assert masks
    for name in masks:
        gradient = engine.gradients[name.removesuffix(".mask")]
        off = engine.parameters[name] == 0
        assert off.any()
        assert not gradient[off].any()
        assert gradient[~off].any()


def test_an_operator_without_gradient_is_refused_by_name() -> None:
    model = networks.compression(networks.around("Ceil"))
    with pytest.raises(TrainingError, match=r"node tested: its operator Ceil has no gradient.*; export"):
        build(model, batch_size=2, threads=1)


def test_an_operator_without_gradient_before_every_weight_does_no_harm() -> None:
    net = networks.Builder(0)
    x = net.node("Ceil", ["input"], "rounded")
    x = networks.conv(net, x, "conv", 3, 4)
    proto = net.model(networks.head(net, x, "fc", 4, 10), 17, ("N", 3, 8, 8), 10)
    engine = build(networks.compression(proto), batch_size=2, threads=1)
    assert np.isfinite(engine.step(*networks.batch(batch_size=2)).losses[LOSS])


def test_nothing_backward_for_the_teacher() -> None:
    model = networks.zoo_compression("densenet", "distill")
    training = lower(model, 2)
    proto, trained = differentiate(training)
    assert set(trained) == {n for n, role in model.roles.items() if role is Role.TRAINABLE}
    assert training.teacher is not None
    hidden = {tensor.name for tensor in training.teacher.outputs}
    inputs = {entry.name for entry in proto.graph.input}
    assert {name for name in inputs if name.startswith("teacher/")} == hidden
    assert not {node.name for node in training.teacher.nodes} & {node.name for node in proto.graph.node}
    weights = {name for name, role in model.roles.items() if role is Role.TEACHER}
    read = inputs | {initializer.name for initializer in proto.graph.initializer}
    assert not weights & read
    assert not [
        name for node in proto.graph.node for name in node.output if name in {f"{h}_grad" for h in hidden}
    ]


CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "uneven padding": {"pads": [0, 1, 2, 1]},
    "dilated": {"pads": [2, 2, 2, 2], "dilations": [2, 2]},
    "auto_pad": {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    "grouped": {"group": 3, "strides": [2, 1]},
    "kernel shape from the weight": {"kernel_shape": None, "pads": [1, 1, 1, 1]},
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str) -> None:
    attributes = {"kernel_shape": [3, 3], **CONVOLUTIONS[name]}
    attributes = {key: value for key, value in attributes.items() if value is not None}
    net = networks.Builder(1)
    x = networks.conv(net, "input", "first", 3, 6)
    weight = net.constant("middle.weight", net.he(9, 6 // attributes.get("group", 1), 3, 3))
    x = net.node("Conv", [x, weight, net.constant("middle.bias", net.small(9))], "middle", **attributes)
    model = networks.compression(net.model(networks.head(net, x, "fc", 9, 10), 17, ("N", 3, 8, 8), 10))
    if "auto_pad" in attributes:  # 8 pixels, stride 2, kernel 3: one row of padding, before
        reference = next(node for node in model.graph.nodes if node.inputs[1].name == "middle.weight")
        engine = build(model, batch_size=networks.BATCH, threads=1)
        reference.attrs.pop("auto_pad")
        reference.attrs["pads"] = [1, 1, 0, 0]
        errors = networks.worst_gradient_error(engine, model)
        assert max(errors.values()) <= TOLERANCE
    else:
        assert_gradients(model)
