from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxcomp.deploy.lint.qdq import RULES
from tests.deploy.lint.networks import CHANNELS, Net, findings, good, nodes

PAIR = ["relu1.dq", "relu1.q"]
WEIGHT = ["conv1.w.dq", "conv1.w.q"]


def two_inputs(net: Net) -> None:
    for name in PAIR:
        del net.nodes[name].input[2]


def zero_point(net: Net) -> None:
    net.constant("relu1.zero", 3, np.int8)


def zero_point_count(net: Net) -> None:
    net.constant("conv1.w.zero", 0, np.int8)


def computed_scale(net: Net) -> None:
    net.nodes = {
        "shape": helper.make_node("ReduceMax", ["x"], ["relu1.scale"], "shape", keepdims=0),
        **net.nodes,
    }
    del net.constants["relu1.scale"]


def negative_scale(net: Net) -> None:
    scales = np.full(CHANNELS, 0.02, np.float32)
    scales[3] = 0
    net.constant("conv1.w.scale", scales)


def infinite_scale(net: Net) -> None:
    net.constant("relu1.scale", np.inf)


def half_scale(net: Net) -> None:
    net.constant("relu1.scale", 0.1, np.float16)


def double_scale(net: Net) -> None:
    net.constant("relu1.scale", 0.1, np.float64)


def uint8(net: Net) -> None:
    net.constant("relu1.zero", 0, np.uint8)


def no_axis(net: Net) -> None:
    for name in WEIGHT:
        net.set(name, axis=None)


def old_opset(net: Net) -> None:
    net.opset = 12


def axis_count(net: Net) -> None:
    for name in ("scale", "zero"):
        net.constant(
            f"conv1.w.{name}", np.full(5, name == "scale"), np.float32 if name == "scale" else np.int8
        )


def no_such_axis(net: Net) -> None:
    for name in WEIGHT:
        net.set(name, axis=4)


def per_channel_activation(net: Net) -> None:
    net.constant("relu1.scale", np.full(CHANNELS, 0.1))
    net.constant("relu1.zero", np.zeros(CHANNELS), np.int8)
    for name in PAIR:
        net.set(name, axis=1)


def operator_between(net: Net) -> None:
    net.insert("MaxPool", "inside", "relu1.q", kernel_shape=[1, 1])


def integer_output(net: Net) -> None:
    net.output = "relu1.q"


CASES: list[tuple[str, str, Callable[[Net], None], list[str]]] = [
    ("qdq-inputs", "xavier", two_inputs, PAIR),
    ("zero-point-absent", "orin", two_inputs, ["relu1.q"]),
    ("zero-point", "xavier", zero_point, PAIR),
    ("zero-point-count", "xavier", zero_point_count, WEIGHT),
    ("computed-scale", "tensorrt-11", computed_scale, PAIR),
    ("scale-positive", "xavier", negative_scale, WEIGHT),
    ("scale-positive", "orin", infinite_scale, PAIR),
    ("scale-type", "xavier", half_scale, PAIR),
    ("scale-type", "orin", double_scale, PAIR),
    ("integer-type", "orin", uint8, PAIR),
    ("axis-missing", "xavier", no_axis, WEIGHT),
    ("axis-count", "xavier", axis_count, WEIGHT),
    ("axis-count", "xavier", no_such_axis, WEIGHT),
    ("per-channel-activation", "xavier", per_channel_activation, PAIR),
    ("pair", "xavier", operator_between, PAIR),
]


@pytest.mark.parametrize(("rule", "target", "break_it", "names"), CASES)
def test_a_broken_network_is_caught_with_its_node(
    rule: str, target: str, break_it: Callable[[Net], None], names: list[str], tmp_path: Path
) -> None:
    net = good()
    break_it(net)
    assert nodes(findings(net, target, tmp_path), rule) == names


@pytest.mark.parametrize("target", ["xavier", "orin", "tensorrt-11"])
@pytest.mark.parametrize("opset", [13, 17])
def test_a_good_network_is_not(opset: int, target: str, tmp_path: Path) -> None:
    assert findings(good(opset), target, tmp_path) == ()


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in RULES} == {case[0] for case in CASES} | {"qdq-opset"}


def test_before_opset_13_there_is_no_axis(tmp_path: Path) -> None:
    net = good(12)
    found = findings(net, "xavier", tmp_path)
    weights = [name for name in net.nodes if ".w." in name]
    assert nodes(found, "axis-missing") == sorted(weights)
    assert nodes(found, "qdq-opset") == sorted(name for name in net.nodes if name.endswith((".q", ".dq")))
    assert nodes(findings(good(13), "xavier", tmp_path), "qdq-opset") == []


@pytest.mark.parametrize(("rule", "break_it"), [("qdq-inputs", two_inputs), ("scale-type", half_scale)])
def test_what_newer_versions_take(rule: str, break_it: Callable[[Net], None], tmp_path: Path) -> None:
    net = good()
    break_it(net)
    for target in ("orin", "tensorrt-11"):
        assert nodes(findings(net, target, tmp_path), rule) == []


def test_an_output_dtype_is_as_good_as_a_zero_point(tmp_path: Path) -> None:
    net = good(21)
    two_inputs(net)
    net.set("relu1.q", output_dtype=onnx.TensorProto.INT8)
    assert nodes(findings(net, "tensorrt-11", tmp_path), "zero-point-absent") == []


def test_int4_is_for_10_and_newer(tmp_path: Path) -> None:
    net = good(21)
    net.constants["conv1.w.zero"] = helper.make_tensor(
        "conv1.w.zero", onnx.TensorProto.INT4, [CHANNELS], [0] * CHANNELS
    )
    assert nodes(findings(net, "xavier", tmp_path), "integer-type") == WEIGHT
    assert nodes(findings(net, "orin", tmp_path), "integer-type") == []


def test_constants_may_come_from_constant_nodes_and_identities(tmp_path: Path) -> None:
    """As PyTorch's exporter writes scales."""
    net = good()
    scale, zero = (net.constants.pop(f"relu1.{name}") for name in ("scale", "zero"))
    first = {
        "k": helper.make_node("Constant", [], ["relu1.scale"], "k", value=scale),
        "z": helper.make_node("Constant", [], ["z"], "z", value=zero),
        "i": helper.make_node("Identity", ["z"], ["relu1.zero"], "i"),
    }
    net.nodes = {**first, **net.nodes}
    assert findings(net, "xavier", tmp_path) == ()
    net.nodes["k"] = helper.make_node("Constant", [], ["relu1.scale"], "k", value_float=-1.0)
    assert nodes(findings(net, "xavier", tmp_path), "scale-positive") == PAIR


def test_integers_that_are_an_output_are_not_a_pair(tmp_path: Path) -> None:
    net = good()
    integer_output(net)
    assert nodes(findings(net, "xavier", tmp_path), "pair") == ["relu1.q"]


def test_a_dequantised_input_is_not_a_pair(tmp_path: Path) -> None:
    net = good()
    net.node("DequantizeLinear", "alone", ["x", "x.scale", "x.zero"])
    net.node("Relu", "end", ["alone"])
    assert nodes(findings(net, "xavier", tmp_path), "pair") == ["alone"]
