from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.model import Role
from onnxcomp.training.engine import build
from onnxcomp.training.lowering import lower
from onnxcomp.training.lowering.parameters import separate
from onnxcomp.training.lowering.static_batch import fix_batch
from tests.training import networks
from tests.training.lowering import forward


def test_every_tensor_gets_its_shape() -> None:
    training = forward.skeleton(networks.zoo_compression("densenet", "prune,qat,distill"), 6)
    for tensor in training.graph.tensors().values():
        assert tensor.shape is not None
        assert all(isinstance(size, int) for size in tensor.shape), tensor


@pytest.mark.parametrize("spread", [True, False])
def test_a_class_token_at_a_batch_of_one(spread: bool) -> None:
    """Expanded to one image, or concatenated as it is; the gradient is that of all images."""
    net = networks.Builder(0)
    x = networks.conv(net, "input", "conv", 3, 6)
    x = net.node("Reshape", [x, net.constant("flat.shape", np.array([1, 6, 64]))], "flat")
    token = net.constant("token", net.small(1, 6, 1))
    if spread:
        token = net.node("Expand", [token, net.constant("token.shape", np.array([1, 6, 1]))], "wide")
    x = net.node("Concat", [token, x], "tokens", axis=2)
    x = net.node("Reshape", [x, net.constant("row", np.array([1, 390]))], "row.out")
    head = [net.constant("fc.weight", net.he(10, 390)), net.constant("fc.bias", net.small(10))]
    x = net.node("Gemm", [x, *head], "logits", transB=1)
    model = networks.compression(net.model(x, 17, (1, 3, 8, 8), 10))
    assert model.roles["token"] is Role.TRAINABLE
    engine = build(model, batch_size=networks.BATCH, threads=1)
    images, labels = networks.batch()
    whole = engine.step(images, labels)
    token_gradient = engine.gradients["token"].copy()
    single = build(model, batch_size=1, threads=1)
    parts, losses = np.zeros_like(token_gradient), []
    for image, label in zip(images, labels, strict=True):
        losses.append(single.step(image[None], np.array([label])).losses["loss"])
        parts += single.gradients["token"] / networks.BATCH
    assert whole.losses["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    np.testing.assert_allclose(token_gradient, parts, rtol=1e-4, atol=1e-7)


def test_a_reshape_that_holds_the_old_batch_follows() -> None:
    net = networks.Builder(0)
    x = networks.conv(net, "input", "conv", 3, 4)
    shape = net.constant("shape", networks.np.array([2, 4, 64], "int64"))
    x = net.node("Reshape", [x, shape], "flat")
    back = net.constant("back", networks.np.array([-1, 4, 8, 8], "int64"))
    x = net.node("Reshape", [x, back], "again")
    proto = net.model(networks.head(net, x, "fc", 4, 10), 17, (2, 3, 8, 8), 10)
    model = networks.compression(proto)
    training = separate(model)
    fix_batch(training.graph, training.image, 5)
    assert training.graph.tensors()["flat"].shape == [5, 4, 64]
    assert training.graph.tensors()[training.logits].shape == [5, 10]
    assert model.batch == 2


def test_a_parameter_of_one_row_is_no_batch_of_one() -> None:
    net = networks.Builder(0)
    x = networks.conv(net, "input", "conv", 3, 4)
    target = net.constant("target", np.array([1, 4, 8, 8]))
    position = net.node("Reshape", [net.constant("position", net.small(1, 256)), target], "square")
    x = net.node("Add", [x, position], "placed")
    x = networks.conv(net, x, "last", 4, 10, kernel=8)
    x = net.node("AveragePool", [x], "pooled", kernel_shape=[9, 9])
    x = net.node("Reshape", [x, net.constant("row", np.array([1, 10]))], "row.out")
    model = networks.compression(net.model(x, 17, (1, 3, 8, 8), 10))
    training = separate(model)
    fix_batch(training.graph, training.image, 5)
    assert training.graph.tensors()["square"].shape == [1, 4, 8, 8]
    assert training.graph.tensors()[training.logits].shape == [5, 10]


@pytest.mark.parametrize("batch", [2, "N"])
def test_a_batch_joined_with_another_axis_is_refused_by_name(batch: int | str) -> None:
    net = networks.Builder(0)
    x = networks.conv(net, "input", "conv", 3, 4)
    x = net.node("Reshape", [x, net.constant("rows", np.array([8, 64]))], "flat", "joining")
    x = net.node("Reshape", [x, net.constant("back", np.array([-1, 4, 8, 8]))], "again")
    x = networks.head(net, x, "fc", 4, 10)
    model = networks.compression(net.model(x, 17, (batch, 3, 8, 8), 10))
    lower(model, 2)
    with pytest.raises(
        TrainingError, match=r"node joining: its shape is that of another batch: \[5, 4, 8, 8"
    ):
        lower(model, 5)
