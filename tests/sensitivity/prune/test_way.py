from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import graphs
from onnxcomp.errors import OnnxcompError
from onnxcomp.sensitivity.prune.way import SPARSITIES, Way, read_sparsities
from tests.sensitivity.naive import NETWORKS, network


def test_sparsities_are_sorted_and_once() -> None:
    assert Way(sparsities=(0.9, 0.5, 0.9)).sparsities == (0.5, 0.9)
    assert Way().sparsities == SPARSITIES
    assert Way(pattern="4x1").sparsities == SPARSITIES
    assert Way(pattern="2:4").sparsities == (0.5,)
    assert Way(pattern="1:4", sparsities=(0.75,)).sparsities == (0.75,)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_is_measured_first_and_last_too(name: str) -> None:
    model = network(name)
    plan = Way().plan(model)
    assert list(plan.names) == list(dict.fromkeys(weight.name for weight in graphs.weights(model.graph)))
    assert not plan.left


def test_what_is_excluded_or_impossible_is_left() -> None:
    model = network("resnet")
    plan = Way(pattern="2:4", exclude=("/layer1/*",)).plan(model)
    assert "onnx::Conv_125" not in plan.names
    assert plan.left["onnx::Conv_125"] == ""
    assert plan.left["onnx::Conv_123"] == "3 inputs are not divisible by 4"
    assert "onnx::Conv_129" in plan.names


def test_obs_leaves_what_it_knows_no_gram_matrix_of() -> None:
    model = network("mlp")
    node = next(node for node in model.graph.nodes if node.op == "MatMul")
    tensor = node.inputs[1]
    tensor.values = tensor.values[None]
    assert Way(criterion="obs").plan(model).left == {"w2": "criterion obs knows no MatMul of rank 3"}
    assert not Way().plan(model).left


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "foo"}, r"criterion is 'foo': .*'magnitude'.*; see onnxcomp sensitivity --help"),
        ({"pattern": "4:2"}, "pattern is '4:2': it keeps 4 of 2 weights"),
        ({"pattern": "some"}, "pattern is 'some': give unstructured, N:M such as 2:4"),
        ({"sparsities": (0.5, 1.0)}, "sparsities: 1 is no sparsity; give shares between 0 and 1"),
        ({"sparsities": (0.0,)}, "0 is no sparsity"),
        ({"sparsities": (-0.5,)}, "-0.5 is no sparsity"),
        ({"sparsities": (float("nan"),)}, "nan is no sparsity"),
        ({"pattern": "2:4", "sparsities": (0.6,)}, "pattern 2:4 makes 0.5 of the weights zero, not 0.6"),
    ],
    ids=str,
)
def test_options_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(OnnxcompError, match=message):
        Way(**options)


def test_text_of_sparsities() -> None:
    assert read_sparsities("0.5, 0.95") == (0.5, 0.95)
    for text in ("", "0.5,", "half"):
        with pytest.raises(OnnxcompError, match="is no number; write them as "):
            read_sparsities(text)


def test_nothing_to_measure() -> None:
    model = network("mlp")
    with pytest.raises(OnnxcompError, match="there is no layer to prune; exclude less"):
        Way(exclude=("*",)).plan(model)
    with pytest.raises(OnnxcompError, match=r"there is no layer to prune \(.* divisible by 7\)"):
        Way(pattern="3:7").plan(model)


def test_an_exclusion_without_a_match_names_the_nearest() -> None:
    with pytest.raises(
        OnnxcompError, match=r"no weighted layer is called fc.weigth; did you mean fc.weight\?"
    ):
        Way(exclude=("fc.weigth",)).plan(network("resnet"))


def test_weights_that_are_not_finite() -> None:
    model = network("resnet")
    values = model.constants()["fc.weight"].values.copy()
    values[3, 2] = np.nan
    model.constants()["fc.weight"].values = values
    with pytest.raises(OnnxcompError, match="node /fc/Gemm: holds weights that are not finite"):
        Way().plan(model)
