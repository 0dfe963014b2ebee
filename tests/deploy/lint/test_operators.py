from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from onnxcomp.deploy.lint import lint
from onnxcomp.deploy.lint.operators import PARSED, RULES, SINCE
from onnxcomp.deploy.targets import get_target
from tests.deploy.lint.networks import CHANNELS, Net, findings, good, nodes

ALL = ("xavier", "xavier-dla", "orin", "orin-dla", "tensorrt-11")


def layer_norm(net: Net) -> None:
    net.constant("g", [1.0] * CHANNELS)
    net.node("LayerNormalization", "norm", ["flat", "g"])
    net.rewire("flat", "norm", but=["norm"])


def hard_swish(net: Net) -> None:
    net.insert("HardSwish", "swish", "relu1")


def gelu(net: Net) -> None:
    net.opset = 20
    net.insert("Gelu", "gelu", "relu1")


def unknown(net: Net) -> None:
    net.insert("BitShift", "shift", "relu1", ["relu1"], direction="LEFT")


def custom(net: Net) -> None:
    net.domains.append("com.acme")
    net.insert("Magic", "magic", "relu1", domain="com.acme")


def integer(net: Net) -> None:
    net.insert("DynamicQuantizeLinear", "dynamic", "relu1")


def microsoft(net: Net) -> None:
    net.domains.append("com.microsoft")
    net.insert("QLinearAdd", "sum", "relu1", domain="com.microsoft")


def dilated(net: Net) -> None:
    net.set("max", dilations=[2, 2])


def places(net: Net) -> None:
    net.nodes["max"].output.append("where")
    net.node("Cast", "cast", ["where"], to=TensorProto.FLOAT)
    net.output = net.node("ReduceMean", "mean", ["cast"])


def new_opset(net: Net) -> None:
    net.opset = 21


CASES: list[tuple[str, str, Callable[[Net], None], list[str]]] = [
    ("operator", "xavier", layer_norm, ["norm"]),
    ("operator", "xavier-dla", layer_norm, ["norm"]),
    ("operator", "xavier", gelu, ["gelu"]),
    ("operator", "tensorrt-11", unknown, ["shift"]),
    ("operator-unsure", "xavier", hard_swish, ["swish"]),
    ("custom-operator", "orin", custom, ["magic"]),
    ("integer-operator", "orin", integer, ["dynamic"]),
    ("integer-operator", "xavier", microsoft, ["sum"]),
    ("pooling", "orin", dilated, ["max"]),
    ("pooling", "xavier-dla", places, ["max"]),
    ("opset", "xavier", new_opset, [""]),
    ("opset", "orin", new_opset, [""]),
]


@pytest.mark.parametrize(("rule", "target", "break_it", "names"), CASES)
def test_a_broken_network_is_caught_with_its_node(
    rule: str, target: str, break_it: Callable[[Net], None], names: list[str], tmp_path: Path
) -> None:
    net = good()
    break_it(net)
    assert nodes(findings(net, target, tmp_path), rule) == names


@pytest.mark.parametrize("target", ALL)
def test_a_good_network_is_not(target: str, tmp_path: Path) -> None:
    found = findings(good(), target, tmp_path)
    assert not {one.rule for one in found} & {rule.name for rule in RULES}


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in RULES} == {case[0] for case in CASES}


@pytest.mark.parametrize(
    ("break_it", "target"),
    [(layer_norm, "orin"), (gelu, "orin"), (hard_swish, "orin"), (new_opset, "tensorrt-11")],
)
def test_what_newer_versions_parse(break_it: Callable[[Net], None], target: str, tmp_path: Path) -> None:
    net = good()
    break_it(net)
    assert findings(net, target, tmp_path) == ()


def test_the_version_is_named(tmp_path: Path) -> None:
    net = good()
    layer_norm(net)
    (found,) = (one for one in findings(net, "xavier", tmp_path) if one.rule == "operator")
    assert found.what == "LayerNormalization is parsed from TensorRT 8.6 on"


def test_an_opset_before_9_is_too_old_for_10(tmp_path: Path) -> None:
    net = Net(8)
    net.node("Relu", "relu", ["x"])
    assert nodes(findings(net, "orin", tmp_path), "opset") == [""]
    assert nodes(findings(net, "xavier", tmp_path), "opset") == []


def test_subgraphs_and_functions_are_looked_into(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    x, y = value("x", TensorProto.FLOAT, ["N", 4]), value("y", TensorProto.FLOAT, ["N", 4])
    branch = helper.make_graph(
        [helper.make_node("Mish", ["x"], ["inner"], "deep")],
        "branch",
        [],
        [value("inner", TensorProto.FLOAT, None)],
    )
    function = helper.make_function(
        *("local", "Twice", ["a"], ["b"], [helper.make_node("Det", ["a"], ["b"], "inside")]),
        [helper.make_opsetid("", 18)],
    )
    graph = helper.make_graph(
        [
            helper.make_node("If", ["c"], ["f"], "if", then_branch=branch, else_branch=branch),
            helper.make_node("Twice", ["f"], ["y"], "call", domain="local"),
        ],
        "net",
        [x, value("c", TensorProto.BOOL, [])],
        [y],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=8), path)
    found = {name: lint(path, get_target(name), run=False).findings for name in ("xavier", "orin")}
    assert nodes(found["xavier"], "operator") == ["deep", "inside"]
    assert nodes(found["orin"], "operator") == ["inside"]
    assert nodes(found["xavier"], "custom-operator") == ["call"]
    assert nodes(found["orin"], "custom-operator") == []


def test_the_tables_name_operators_that_exist() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    old = {"Scatter", "Upsample"}
    assert PARSED | set(SINCE) <= known | old
    assert not PARSED & set(SINCE)
