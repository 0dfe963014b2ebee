from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxcomp.model import Model
from onnxcomp.training.engine import Engine, build
from onnxcomp.training.lowering.channel_major import LOWERING, lower_channel_major
from tests.builder import batch_norm
from tests.training import networks
from tests.training.lowering import forward


def plain_and_channel_major(model: Model) -> tuple[Engine, Engine, int]:
    """Both engines, stepped on one batch, and the number of nodes that changed layout."""
    engines = []
    for without in ((LOWERING.name,), ()):
        engine = build(model, batch_size=networks.BATCH, threads=1, without=without)
        networks.disturb(engine, model)
        engine.step(*networks.batch(size=model.image_shape[1]))
        engines.append(engine)
    (count,) = [rewrite.nodes for rewrite in engines[1].rewrites if rewrite.name == LOWERING.name]
    return engines[0], engines[1], count


def assert_gradients_equal(one: Engine, two: Engine) -> None:
    for name, gradient in one.gradients.items():
        norm = max(float(np.linalg.norm(gradient)), 1e-6)
        assert np.linalg.norm(gradient - two.gradients[name]) <= 1e-4 * norm, name


# Without qat: a sum in another order may round to another level, which is no error of the gradient.
@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("passes", ["", "prune,distill"])
def test_gradients_of_densenet(size: int, passes: str) -> None:
    model = networks.zoo_compression("densenet", passes, size=size)
    one, two, count = plain_and_channel_major(model)
    assert count > 15
    assert_gradients_equal(one, two)
    for name in ("features.norm5.running_mean", "features.norm5.running_var"):
        np.testing.assert_allclose(one.parameters[name], two.parameters[name], rtol=1e-5, atol=1e-6)


def small_conv(size: int, **attributes: Any) -> onnx.ModelProto:
    """A network whose middle convolution sees ``size`` x ``size`` pixels and has a bias."""
    net = networks.Builder(2)
    x = networks.conv(net, "input", "first", 3, 8)
    x = net.node("AveragePool", [x], "pooled", kernel_shape=[8 // size] * 2, strides=[8 // size] * 2)
    weight = net.constant("middle.weight", net.he(12, 8, *attributes.get("kernel_shape", [3, 3])))
    x = net.node("Conv", [x, weight, net.constant("middle.bias", net.small(12))], "middle", **attributes)
    x = net.node("Relu", [x], "active")
    x = networks.conv(net, x, "last", 12, 12, kernel=1)
    return net.model(networks.head(net, x, "fc", 12, 10), 17, ("N", 3, 8, 8), 10)


CONVOLUTIONS: list[tuple[int, dict[str, Any]]] = [
    (4, {"kernel_shape": [1, 1]}),
    (2, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    (1, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    (2, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    (2, {"kernel_shape": [3, 3], "pads": [0, 1, 2, 1]}),
    (2, {"kernel_shape": [3, 3], "pads": [2, 2, 2, 2], "dilations": [2, 2]}),
    (2, {"kernel_shape": [5, 3], "pads": [2, 1, 2, 1], "strides": [1, 2]}),
]


@pytest.mark.parametrize(("size", "attributes"), CONVOLUTIONS)
def test_convolutions_as_one_product(size: int, attributes: dict[str, Any]) -> None:
    model = networks.compression(small_conv(size, **attributes))
    one, two, count = plain_and_channel_major(model)
    assert count > 0
    assert_gradients_equal(one, two)


def test_axes_counted_from_the_end_and_numbers_of_four_axes() -> None:
    """A Concat along -3 and a factor of shape (1, 1, 1, 1), before a BatchNormalization."""
    net = networks.Builder(1)
    x = networks.conv(net, "input", "first", 3, 32, stride=2)
    branches = [networks.conv(net, x, name, 32, 32, kernel=1) for name in "ab"]
    x = net.node("Concat", branches, "joined", axis=-3)
    x = net.node("Mul", [x, net.constant("factor", np.full((1, 1, 1, 1), 1.5, np.float32))], "scaled")
    x = networks.conv(net, batch_norm(net, x, "norm", 64), "last", 64, 32, kernel=1)
    proto = net.model(networks.head(net, x, "fc", 32, 10), 17, ("N", 3, 8, 8), 10)
    one, two, count = plain_and_channel_major(networks.compression(proto))
    assert count >= 6
    assert_gradients_equal(one, two)


def test_a_network_without_small_images_is_left_alone() -> None:
    training = forward.skeleton(networks.zoo_compression("densenet", size=16))
    nodes = list(training.graph.nodes)
    assert lower_channel_major(training.graph, max_pixels=4) == 0
    assert training.graph.nodes == nodes


def test_other_readers_get_the_images_back() -> None:
    """The boundary loss reads the middle of a dense block."""
    model = networks.zoo_compression("densenet", "distill")
    training = forward.skeleton(model)
    assert lower_channel_major(training.graph) > 30
    forward.assert_same(forward.run(training), forward.run_model(model), 1e-5)
