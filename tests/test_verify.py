"""What holds of every network that onnxcomp writes."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp.errors import ModelError
from onnxcomp.model import Role, from_proto
from onnxcomp.verify import check_names, verify
from tests import zoo


def test_networks_as_loaded_hold() -> None:
    for write in zoo.ALL.values():
        verify(from_proto(write()), where="here")


def test_two_constants_of_one_name_are_refused() -> None:
    model = from_proto(zoo.mlp())
    gemm = next(node for node in model.graph.nodes if node.op == "Gemm")
    gemm.inputs[2] = gs.Constant("w2", np.ones(32, np.float32))
    with pytest.raises(ModelError, match="here: two tensors are called w2; rename one of them"):
        check_names(model, where="here")


def test_a_constant_and_an_output_of_one_name_are_refused() -> None:
    model = from_proto(zoo.mlp())
    model.graph.nodes[0].outputs[0].name = "w2"
    with pytest.raises(ModelError, match="two tensors are called w2"):
        verify(model, where="here")


def test_two_nodes_of_one_name_are_refused() -> None:
    model = from_proto(zoo.mlp())
    model.graph.nodes[1].name = model.graph.nodes[0].name
    with pytest.raises(ModelError, match=f"two nodes are called {model.graph.nodes[0].name}"):
        verify(model, where="here")


def test_a_role_of_nothing_is_refused() -> None:
    model = from_proto(zoo.mlp())
    model.roles["absent"] = Role.TRAINABLE
    with pytest.raises(ModelError, match="absent has a role but is no constant"):
        verify(model, where="here")


def test_what_the_checker_refuses_is_one_line() -> None:
    model = from_proto(zoo.mlp())
    model.graph.nodes[0].op = "Flatten_"
    with pytest.raises(ModelError, match=r"here: onnx\.checker refuses it: .*Flatten_") as caught:
        verify(model, where="here")
    assert "\n" not in str(caught.value)
