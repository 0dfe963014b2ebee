from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from onnxcomp.deploy.lint import lint
from onnxcomp.deploy.lint.cpu import RULES
from onnxcomp.deploy.targets import get_target
from tests.deploy.lint.networks import CHANNELS, Net, findings, nodes


def good() -> Net:
    """Everything in integers: UINT8 activations on all sides, biases in INT32."""
    net = Net()
    x = net.pair("x", dtype=np.uint8, zero=128)
    for name in ("conv1", "conv2"):
        net.conv(x, name)
        bias = net.constant(f"{name}.i", np.zeros(CHANNELS), np.int32)
        parameters = [
            net.constant(f"{name}.b.scale", np.full(CHANNELS, 0.002)),
            net.constant(f"{name}.b.zero", np.zeros(CHANNELS), np.int32),
        ]
        conv = net.nodes.pop(name)
        net.node("DequantizeLinear", f"{name}.b.dq", [bias, *parameters], axis=0)
        conv.input[2] = f"{name}.b.dq"
        net.nodes[name] = conv
        x = net.pair(name, dtype=np.uint8, zero=128)
    return net


def signed(net: Net) -> None:
    net.constant("conv1.zero", 0, np.int8)


def float_bias(net: Net) -> None:
    net.rewire("conv2.b.dq", "conv2.b")


def computed(net: Net) -> None:
    del net.constants["conv1.scale"]
    first = {"shape": helper.make_node("ReduceMax", ["x"], ["conv1.scale"], "shape", keepdims=0)}
    net.nodes = {**first, **net.nodes}


CASES = [
    ("signed-activation", signed, ["conv1.q"]),
    ("float-kernel", float_bias, ["conv2"]),
    ("computed-scale", computed, ["conv1.dq", "conv1.q"]),
]


@pytest.mark.parametrize(("rule", "break_it", "names"), CASES)
def test_a_broken_network_is_caught_with_its_node(rule, break_it, names, tmp_path: Path) -> None:
    net = good()
    break_it(net)
    found = findings(net, "ort-cpu", tmp_path)
    assert nodes(found, rule) == names
    assert {one.severity for one in found} == {"warning"}


def test_a_good_network_is_not(tmp_path: Path) -> None:
    report = lint(good().save(tmp_path), get_target("ort-cpu"))
    assert report.findings == ()
    assert report.int8 is not None
    assert (report.int8.integer, report.int8.total, report.int8.floats) == (2, 2, ())


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in RULES} == {case[0] for case in CASES}


def test_the_reason_is_told(tmp_path: Path) -> None:
    net = good()
    float_bias(net)
    (found,) = findings(net, "ort-cpu", tmp_path)
    assert found.what == "Conv in float: its bias is float32"


def test_operators_without_pairs_around_are_not_named(tmp_path: Path) -> None:
    net = good()
    net.node("Softmax", "soft", ["conv2.dq"])
    net.node("Exp", "exp", ["soft"])
    assert nodes(findings(net, "ort-cpu", tmp_path), "float-kernel") == ["soft"]


def test_pairs_without_zero_points_are_uint8_there(tmp_path: Path) -> None:
    net = good()
    for name in ("conv1.q", "conv1.dq"):
        del net.nodes[name].input[2]
    assert findings(net, "ort-cpu", tmp_path) == ()
