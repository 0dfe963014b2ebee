"""Normalisation per channel and over channels."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.passes.channels import find
from tests.builder import Builder, batch_norm, conv
from tests.passes.channels.small import after, classifier, half, integers, numbers, reasons, summary


def instance_norm(net: Builder, x: str) -> str:
    inputs = [x, net.constant("norm.weight", net.he(4)), net.constant("norm.bias", net.small(4))]
    return net.node("InstanceNormalization", inputs, "normal", "norm")


@pytest.mark.parametrize("kind", ["batch", "instance"])
def test_parameters_of_a_channel_go_with_it(kind: str) -> None:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        return batch_norm(net, x, "norm", 4) if kind == "batch" else instance_norm(net, x)

    model = classifier(write, 4)
    found = find(model.graph)
    names = ("weight", "bias", "running_mean", "running_var")[: 4 if kind == "batch" else 2]
    for name in names:
        assert numbers(found, f"norm.{name}", 0) == numbers(found, "a.weight", 0)
    result = after(model, half(model))
    assert {result.constants()[f"norm.{name}"].values.shape for name in names} == {(2,)}


def test_before_the_first_convolution_nothing_is_cut() -> None:
    model = classifier(lambda net, x: conv(net, batch_norm(net, x, "norm", 3), "a", 3, 4), 4)
    assert summary(model) == {("a.weight",): 4, ("fc.weight",): 0}
    after(model, half(model))


def test_a_computed_scale_keeps_both() -> None:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        pool = net.node("GlobalAveragePool", [conv(net, x, "b", 4, 4)], "pool")
        scale = net.node("Reshape", [pool, integers(net, "flat", 4)], "scale")
        inputs = [x, scale, net.constant("shift", net.small(4))]
        return net.node("InstanceNormalization", inputs, "normal", "norm")

    model = classifier(write, 4, batch=1)
    reason = "input 1 of InstanceNormalization norm is computed"
    assert (reasons(model)["a.weight"], reasons(model)["b.weight"]) == (reason, reason)


def tokens(net: Builder, x: str) -> str:
    """(N, 36, 4): the channels of ``a`` last."""
    x = net.node("Reshape", [conv(net, x, "a", 3, 4), integers(net, "flat", 0, 4, 36)], "rows")
    return net.node("Transpose", [x], "tokens", perm=[0, 2, 1])


def back(net: Builder, x: str) -> str:
    x = net.node("Transpose", [x], "turned", perm=[0, 2, 1])
    return net.node("Reshape", [x, integers(net, "image", 0, 4, 6, 6)], "pixels")


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "LayerNormalization"])
def test_over_channels_they_are_kept(op: str) -> None:
    def write(net: Builder, x: str) -> str:
        inputs = [tokens(net, x)]
        if op == "LayerNormalization":
            inputs += [net.constant("scale", net.he(4)), net.constant("shift", net.small(4))]
        return back(net, net.node(op, inputs, "normal", "norm", axis=-1))

    model = classifier(write, 4)
    assert reasons(model)["a.weight"] == f"{op} norm sums over all of them"


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_over_tokens_channels_go(op: str) -> None:
    model = classifier(lambda net, x: back(net, net.node(op, [tokens(net, x)], "normal", axis=1)), 4)
    assert summary(model) == {("a.weight",): 4, ("fc.weight",): 0}
    after(model, half(model))


def test_layer_normalization_over_the_last_axes_alone() -> None:
    """Over pixels of one channel each: its scale has no channels, so they go."""

    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        inputs = [x, net.constant("scale", net.he(6, 6)), net.constant("shift", net.small(6, 6))]
        return net.node("LayerNormalization", inputs, "normal", "norm", axis=2)

    model = classifier(write, 4)
    assert summary(model) == {("a.weight",): 4, ("fc.weight",): 0}
    after(model, half(model))


def test_layer_normalization_from_the_channels_on_keeps_them() -> None:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        inputs = [x, net.constant("scale", np.ones((4, 6, 6), np.float32))]
        return net.node("LayerNormalization", inputs, "normal", "norm", axis=1)

    assert reasons(classifier(write, 4))["a.weight"] == "LayerNormalization norm sums over all of them"
