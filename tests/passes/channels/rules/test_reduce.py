"""Pooling and reductions."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builder import Builder, conv
from tests.passes.channels.small import (
    CLASSES,
    after,
    classifier,
    ending,
    gemm,
    half,
    integers,
    reasons,
    summary,
)

WINDOW: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        *((op, WINDOW) for op in ("MaxPool", "AveragePool", "LpPool")),
        *((op, {}) for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")),
    ],
)
def test_pools_pass_channels(op: str, attributes: dict[str, Any]) -> None:
    model = classifier(lambda net, x: net.node(op, [conv(net, x, "a", 3, 4)], "y", **attributes), 4)
    assert summary(model) == {("a.weight",): 4, ("fc.weight",): 0}
    after(model, half(model))


def test_a_pool_over_channels_keeps_them() -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Transpose", [conv(net, x, "a", 3, 4)], "last", perm=[0, 2, 3, 1])
        return net.node("MaxPool", [x], "y", "pool", kernel_shape=[1, 2], strides=[1, 2])

    assert reasons(classifier(write, 6))["a.weight"] == "MaxPool pool pools over them"


REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare")


def reduced(
    net: Builder, x: str, op: str, axes: list[int], opset: int, keep: int, width: int | None = None
) -> str:
    """The reduction, its axes as the opset has them, and a Gemm."""
    x = conv(net, x, "a", 3, 4)
    attributes: dict[str, Any] = {"keepdims": keep}
    given = [x]
    if opset >= 18 or op == "ReduceSum":
        given.append(integers(net, "axes", *axes))
    else:
        attributes["axes"] = axes
    x = net.node(op, given, "y", "reduce", **attributes)
    if keep:
        x = net.node("Flatten", [x], "flat")
    return gemm(net, x, "fc", width or 4, CLASSES)


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("op", REDUCTIONS)
def test_reductions_over_pixels_pass_channels(op: str, keep: int, opset: int) -> None:
    model = ending(lambda net, x: reduced(net, x, op, [-2, 3], opset, keep), opset=opset)
    assert summary(model) == {("a.weight",): 4, ("fc.weight",): 0}
    after(model, half(model))


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("axes", [[1], [-3, -2], [1, 2]])
def test_reductions_over_channels_keep_them(axes: list[int], opset: int) -> None:
    width = 36 // 6 ** (len(axes) - 1)
    model = ending(lambda net, x: reduced(net, x, "ReduceMax", axes, opset, 1, width), opset=opset)
    assert reasons(model)["a.weight"] == "ReduceMax reduce sums over all of them"


def test_a_reduction_over_everything_keeps_channels() -> None:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        return net.node("Div", [x, net.node("ReduceMax", [x], "largest", "reduce")], "y")

    assert reasons(classifier(write, 4))["a.weight"] == "ReduceMax reduce sums over all of them"


def test_a_reduction_over_nothing_passes_them() -> None:
    """By the specification; ONNX Runtime 1.19 does not run it."""

    def write(net: Builder, x: str) -> str:
        inputs = [conv(net, x, "a", 3, 4)]
        return net.node("ReduceSum", inputs, "y", "reduce", noop_with_empty_axes=1)

    assert summary(classifier(write, 4)) == {("a.weight",): 4, ("fc.weight",): 0}
