"""Operators that treat each element for itself, with and without broadcasting; Q and DQ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxcomp.passes.channels import find
from onnxcomp.passes.channels.rules import RULES
from onnxcomp.passes.channels.rules.elementwise import NARY, UNARY
from tests.builder import Builder, conv
from tests.passes.channels.small import after, classifier, half, integers, numbers, reasons, summary

SMOOTH = (
    "Abs",
    "Elu",
    "Erf",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Neg",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Tanh",
    "Identity",
    "Celu",
    "ThresholdedRelu",
    "Clip",
    "Dropout",
)


@pytest.mark.parametrize("op", SMOOTH)
def test_activations_pass_channels(op: str) -> None:
    model = classifier(lambda net, x: net.node(op, [conv(net, x, "a", 3, 4)], "y"), 4)
    assert summary(model) == {("a.weight",): 4, ("fc.weight",): 0}
    after(model, half(model))


def test_every_operator_has_one_rule() -> None:
    assert len(set(UNARY) | set(NARY)) == len(UNARY) + len(NARY)
    assert set(UNARY) | set(NARY) <= set(RULES)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean"])
def test_operands_go_together(op: str) -> None:
    def write(net: Builder, x: str) -> str:
        return net.node(op, [conv(net, x, "a", 3, 4), conv(net, x, "b", 3, 4)], "y")

    model = classifier(write, 4)
    assert summary(model) == {("a.weight", "b.weight"): 4, ("fc.weight",): 0}
    after(model, half(model))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), (4, 6, 6)])
def test_constants_are_cut_along_the_channels(shape: tuple[int, ...], first: bool) -> None:
    def write(net: Builder, x: str) -> str:
        pair = [conv(net, x, "a", 3, 4), net.constant("c", net.he(*shape))]
        return net.node("Mul", pair if first else pair[::-1], "y")

    model = classifier(write, 4)
    found = find(model.graph)
    axis = len(shape) - 3
    assert {a: n.tolist() for a, n in found.constants["c"].items()} == {axis: numbers(found, "a.weight", 0)}
    result = after(model, numbers(found, "a.weight", 0)[:1])
    assert result.constants()["c"].values.shape[axis] == 3


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1), (6,), (6, 1)])
def test_constants_without_channels_stay(shape: tuple[int, ...]) -> None:
    def write(net: Builder, x: str) -> str:
        return net.node("Mul", [conv(net, x, "a", 3, 4), net.constant("c", net.he(1, *shape)[0])], "y")

    model = classifier(write, 4)
    assert "c" not in find(model.graph).constants
    after(model, half(model))


def test_a_slope_for_each_channel() -> None:
    def write(net: Builder, x: str) -> str:
        return net.node("PRelu", [conv(net, x, "a", 3, 4), net.constant("slope", net.he(4, 1, 1))], "y")

    model = classifier(write, 4)
    found = find(model.graph)
    assert numbers(found, "slope", 0) == numbers(found, "a.weight", 0)
    after(model, half(model))


def test_a_constant_that_gives_the_channels_their_size() -> None:
    """One channel times a vector of four: all four hang on the one, which is the last of its layer."""

    def write(net: Builder, x: str) -> str:
        return net.node("Mul", [conv(net, x, "a", 3, 1), net.constant("c", net.he(4, 1, 1))], "y")

    model = classifier(write, 4)
    found = find(model.graph)
    (only,) = numbers(found, "a.weight", 0)
    assert numbers(found, "fc.weight", 1) == [only] * 4
    with pytest.raises(ValueError, match="lose all of its channels"):
        after(model, [only])


def test_one_channel_that_scales_all_others_is_kept() -> None:
    """A spatial gate: (N, 1, H, W) times (N, 4, H, W)."""

    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        gate = net.node("Sigmoid", [conv(net, x, "gate", 4, 1)], "map")
        return net.node("Mul", [x, gate], "y", "scale")

    model = classifier(write, 4)
    assert reasons(model)["gate.weight"] == "Mul scale spreads it over all channels"
    assert summary(model)[("a.weight",)] == 4
    after(model, half(model))


def test_a_gate_for_each_channel_goes_with_it() -> None:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        pool = net.node("GlobalAveragePool", [conv(net, x, "b", 4, 4)], "pool")
        return net.node("Mul", [x, pool], "y")

    model = classifier(write, 4)
    assert summary(model) == {("a.weight", "b.weight"): 4, ("fc.weight",): 0}
    after(model, half(model))


def test_where_with_a_mask_for_each_channel() -> None:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        zero = net.constant("zero", np.array(0, np.float32))
        positive = net.node("Greater", [x, zero], "positive")
        return net.node("Where", [positive, x, net.node("Neg", [x], "turned")], "y")

    model = classifier(write, 4)
    assert summary(model) == {("a.weight",): 4, ("fc.weight",): 0}
    after(model, half(model))


def test_channels_of_two_axes_are_kept() -> None:
    """Channels of one tensor along rows, of another along columns: an outer sum."""

    def write(net: Builder, x: str) -> str:
        a = net.node("GlobalAveragePool", [conv(net, x, "a", 3, 4)], "pool.a")
        b = net.node("GlobalAveragePool", [conv(net, x, "b", 3, 5)], "pool.b")
        b = net.node("Reshape", [b, integers(net, "row", 0, 1, 5, 1)], "row.b")
        return net.node("Add", [a, b], "outer", "outer")

    model = classifier(write, 4)
    lines = reasons(model)
    assert lines["a.weight"] == lines["b.weight"] == "Add outer combines channels of several axes"


@pytest.mark.parametrize("per_channel", [False, True])
def test_q_dq_of_an_activation(per_channel: bool) -> None:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        size = (4,) if per_channel else ()
        scale = net.constant("scale", np.full(size, 0.02, np.float32))
        zero = net.constant("zero", np.zeros(size, np.int8))
        axis: dict[str, Any] = {"axis": 1} if per_channel else {}
        x = net.node("QuantizeLinear", [x, scale, zero], "q", **axis)
        return net.node("DequantizeLinear", [x, scale, zero], "dq", **axis)

    model = classifier(write, 4)
    assert summary(model) == {("a.weight",): 4, ("fc.weight",): 0}
    found = find(model.graph)
    assert ("scale" in found.constants) == ("zero" in found.constants) == per_channel
    result = after(model, half(model))
    if per_channel:
        assert result.constants()["zero"].values.shape == (2,)
