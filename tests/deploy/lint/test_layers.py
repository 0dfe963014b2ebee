from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxcomp.deploy.lint.layers import RULES
from tests.deploy.lint.networks import CHANNELS, Net, findings, good, nodes


def stored_in_int8(net: Net) -> None:
    net.constant("conv1.w.q", np.zeros((CHANNELS, CHANNELS, 3, 3)), np.int8)
    del net.nodes["conv1.w.q"]


def stored_in_half(net: Net) -> None:
    net.constant("conv1.w", np.ones((CHANNELS, CHANNELS, 3, 3)), np.float16)


def normalised_transpose(net: Net) -> None:
    weight = net.constant("t.w", np.ones((CHANNELS, CHANNELS, 1, 1)))
    net.constant("norm.one", np.ones(CHANNELS))
    net.insert("ConvTranspose", "up", "relu1.dq", [weight])
    net.insert("BatchNormalization", "norm", "up", ["norm.one"] * 4)
    nodes, net.nodes = net.nodes, {}
    for key, node in nodes.items():
        if key == "up":
            net.pair("t.w", np.full(CHANNELS, 0.02), axis=1)
        net.nodes[key] = node
    net.rewire("t.w", "t.w.dq", but=["t.w.q"])


def masked(net: Net) -> None:
    net.constant("mask", np.ones((CHANNELS, CHANNELS, 3, 3)))
    net.rewire("conv1.w", "masked")
    net.nodes = {"masked": Net().nodes.get("masked") or _mul("conv1.w", "mask", "masked"), **net.nodes}


def _mul(a: str, b: str, name: str):
    net = Net()
    net.node("Mul", name, [a, b])
    return net.nodes[name]


def kernel_from_outside(net: Net) -> None:
    net.inputs.append(("conv1.w", ("A", "B", "C", "D")))
    del net.constants["conv1.w"]


def bias_in_int32(net: Net) -> None:
    net.constant("conv1.b", np.zeros(CHANNELS), np.int32)
    net.constant("b.scale", 0.002)
    net.constant("b.zero", 0, np.int32)
    net.rewire("conv1.b", "b.dq")
    net.nodes = {"b.dq": _node("DequantizeLinear", "b.dq", ["conv1.b", "b.scale", "b.zero"]), **net.nodes}


def _node(op: str, name: str, inputs: list[str]):
    net = Net()
    net.node(op, name, inputs)
    return net.nodes[name]


def input_axis(net: Net) -> None:
    for name in ("conv1.w.q", "conv1.w.dq"):
        net.set(name, axis=1)


def gemm_axis(net: Net) -> None:
    net.set("gemm", transB=0)
    net.constant("gemm.w", np.ones((10, 16)))


def add_gives_floats(net: Net) -> None:
    net.remove_pair("relu2")


def pooled_floats(net: Net) -> None:
    net.remove_pair("relu4")


def average_gives_floats(net: Net) -> None:
    net.remove_pair("average")


def scales_differ(net: Net) -> None:
    net.constant("relu3.scale", 0.25)


def half_quantized(net: Net) -> None:
    net.remove_pair("relu3")


def before_relu(net: Net) -> None:
    """What Relu reads is quantised, and what it gives is not."""
    net.remove_pair("relu1")
    nodes, net.nodes = net.nodes, {}
    for key, node in nodes.items():
        net.nodes[key] = node
        if key == "conv1":
            net.pair("conv1")
    net.rewire("conv1", "conv1.dq", but=["conv1.q"])


def both_sides_of_add(net: Net) -> None:
    nodes, net.nodes = net.nodes, {}
    for key, node in nodes.items():
        net.nodes[key] = node
        if key == "conv2":
            net.pair("conv2")
    net.rewire("conv2", "conv2.dq", but=["conv2.q"])


def gated(net: Net) -> None:
    net.set("conv3", group=CHANNELS)
    net.constant("conv3.w", np.ones((CHANNELS, 1, 3, 3)))
    net.insert("Sigmoid", "gate", "conv3")


def float_layer(net: Net) -> None:
    net.remove_pair("conv3.w")


CASES: list[tuple[str, str, Callable[[Net], None], list[str]]] = [
    ("int8-weight", "xavier", stored_in_int8, ["conv1.w.dq"]),
    ("weight-type", "xavier", stored_in_half, ["conv1.w.q"]),
    ("transpose-norm", "xavier", normalised_transpose, ["up"]),
    ("transpose-norm", "orin", normalised_transpose, ["up"]),
    ("computed-weight", "xavier", masked, ["conv1"]),
    ("kernel-shape", "orin", kernel_from_outside, ["conv1"]),
    ("bias", "xavier", bias_in_int32, ["conv1"]),
    ("bias", "orin", bias_in_int32, ["conv1"]),
    ("weight-axis", "xavier", input_axis, ["conv1"]),
    ("weight-axis", "orin", gemm_axis, ["gemm"]),
    ("one-side", "xavier", add_gives_floats, ["add"]),
    ("one-side", "orin", average_gives_floats, ["average"]),
    ("one-side", "orin", pooled_floats, ["average"]),
    ("concat-scales", "xavier", scales_differ, ["concat"]),
    ("concat-scales", "xavier", half_quantized, ["concat"]),
    ("behind-layer", "orin", before_relu, ["conv1.q"]),
    ("residual", "xavier", both_sides_of_add, ["add"]),
    ("depthwise-gate", "xavier", gated, ["conv3"]),
    ("float-layer", "tensorrt-11", float_layer, ["conv3"]),
]


@pytest.mark.parametrize(("rule", "target", "break_it", "names"), CASES)
def test_a_broken_network_is_caught_with_its_node(
    rule: str, target: str, break_it: Callable[[Net], None], names: list[str], tmp_path: Path
) -> None:
    net = good()
    break_it(net)
    assert nodes(findings(net, target, tmp_path), rule) == names
    assert nodes(findings(good(), target, tmp_path), rule) == []


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in RULES} == {case[0] for case in CASES}


@pytest.mark.parametrize(
    ("rule", "target", "break_it"),
    [
        ("int8-weight", "orin", stored_in_int8),
        ("int8-weight", "tensorrt-11", stored_in_int8),
        ("weight-type", "orin", stored_in_half),
        ("computed-weight", "orin", masked),
        ("depthwise-gate", "orin", gated),
        ("float-layer", "xavier", float_layer),
    ],
)
def test_what_other_versions_take(
    rule: str, target: str, break_it: Callable[[Net], None], tmp_path: Path
) -> None:
    net = good()
    break_it(net)
    assert nodes(findings(net, target, tmp_path), rule) == []


def test_one_group_is_no_depthwise_convolution(tmp_path: Path) -> None:
    """As the first of a grey image."""
    for group, names in ((1, []), (CHANNELS, ["layer"])):
        net = Net()
        width = 1 if group == 1 else CHANNELS
        net.inputs = [("x", ("N", width, 8, 8))]
        weight = net.pair(net.constant("w", np.ones((CHANNELS, 1, 3, 3))), np.full(CHANNELS, 0.1), axis=0)
        net.node("Sigmoid", "gate", [net.node("Conv", "layer", [net.pair("x"), weight], group=group)])
        assert nodes(findings(net, "xavier", tmp_path), "depthwise-gate") == names


@pytest.mark.parametrize(("axes", "names"), [([2, 3], ["mean"]), ([-1, -2], ["mean"]), ([1], [])])
def test_the_mean_over_height_and_width_is_pooling(axes: list[int], names: list[str], tmp_path: Path) -> None:
    """That over channels, or tokens, onnxcomp leaves float; what follows it may be quantised."""
    for opset in (17, 18):
        net = Net(opset)
        given = ["x"] if opset == 17 else ["x", net.constant("axes", axes, np.int64)]
        mean = net.node("ReduceMean", "mean", given, **({"axes": axes} if opset == 17 else {}))
        shape = (CHANNELS, CHANNELS if names else 1, 1, 1)
        weight = net.pair(net.constant("w", np.ones(shape)), np.full(CHANNELS, 0.1), axis=0)
        net.node("Conv", "layer", [net.pair(mean), weight])
        assert nodes(findings(net, "orin", tmp_path), "one-side") == names


def test_a_bias_in_int32_is_one_finding(tmp_path: Path) -> None:
    net = good()
    bias_in_int32(net)
    assert [one.rule for one in findings(net, "orin", tmp_path)] == ["bias"]


def test_a_kernel_shape_that_is_written_is_enough(tmp_path: Path) -> None:
    net = good()
    kernel_from_outside(net)
    net.set("conv1", kernel_shape=[3, 3])
    assert nodes(findings(net, "orin", tmp_path), "kernel-shape") == []


@pytest.mark.parametrize(
    ("op", "shape", "axis", "other"),
    [("ConvTranspose", (CHANNELS, 4, 3, 3), 1, 0), ("MatMul", (CHANNELS, 4), 1, 0)],
)
def test_output_channels_by_operator(
    op: str, shape: tuple[int, ...], axis: int, other: int, tmp_path: Path
) -> None:
    for chosen, names in ((axis, []), (other, ["layer"])):
        net = Net()
        net.inputs = [("x", ("N", CHANNELS, 8, 8) if op == "ConvTranspose" else ("N", CHANNELS))]
        weight = net.pair(net.constant("w", np.ones(shape)), np.full(shape[chosen], 0.1), axis=chosen)
        net.node(op, "layer", [net.pair("x"), weight])
        assert nodes(findings(net, "orin", tmp_path), "weight-axis") == names


def test_nested_concats_share_what_they_read(tmp_path: Path) -> None:
    """As in a dense block: the second Concat reads the first one."""
    net = Net()
    a = net.pair(net.conv(net.pair("x"), "a"), 0.2)
    b = net.pair(net.conv(a, "b"), 0.2)
    first = net.node("Concat", "first", [a, b], axis=1)
    c = net.pair(net.conv(net.pair(net.node("Relu", "r", [first])), "c", cin=2 * CHANNELS), 0.2)
    net.node("Concat", "second", [first, c], axis=1)
    assert nodes(findings(net, "xavier", tmp_path), "concat-scales") == []
    net.constant("a.scale", 0.3)
    assert nodes(findings(net, "xavier", tmp_path), "concat-scales") == ["first", "second"]
