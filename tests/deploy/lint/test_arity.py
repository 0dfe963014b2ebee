from __future__ import annotations

from pathlib import Path

import pytest
from onnx import ModelProto, helper

from onnxcomp.deploy.lint.arity import check_arity
from onnxcomp.deploy.lint.linter import lint
from onnxcomp.deploy.lint.mend import mend
from onnxcomp.deploy.targets import get_target
from onnxcomp.errors import ModelError
from tests import zoo

PATH = Path("m.onnx")


def network(op: str, inputs: list[str], domain: str = "") -> ModelProto:
    found = zoo.mlp()
    found.graph.node.append(helper.make_node(op, inputs, ["out"], name="the node", domain=domain))
    return found


BAD = [
    ("QuantizeLinear", ["input", ""], "the node has 1 inputs, and QuantizeLinear takes 2 to 3"),
    ("DequantizeLinear", [], "the node has 0 inputs, and DequantizeLinear takes 2 to 3"),
    ("Relu", ["input", "input"], "the node has 2 inputs, and Relu takes 1"),
    ("Conv", ["", "input"], "the node has 1 inputs, and Conv takes 2 to 3"),
]


@pytest.mark.parametrize(("op", "inputs", "line"), BAD)
def test_nodes_without_their_inputs_are_refused(
    op: str, inputs: list[str], line: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(network(op, inputs).SerializeToString())
    for look in (lint, mend):
        with pytest.raises(ModelError) as error:
            look(path, get_target("xavier"))
        assert str(error.value) == f"{path}: {line}; export the model again"


@pytest.mark.parametrize(
    ("op", "inputs", "domain"),
    [
        ("Clip", ["input", "", "high"], ""),
        ("Concat", ["input"] * 9, ""),
        ("Relu", [], "com.example"),
        ("NoSuchOperator", [], ""),
        ("Resize", ["input", "", "scales"], ""),
    ],
)
def test_optional_inputs_and_other_operators_are_left_to_the_rules(
    op: str, inputs: list[str], domain: str
) -> None:
    check_arity(network(op, inputs, domain), PATH)
