from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxcomp.deploy import qdq
from onnxcomp.fold_bn import fold_bn
from tests.deploy.test_qdq import pair, run

CHANNELS = 6


def batch_norm(graph: gs.Graph, source: gs.Tensor, name: str = "bn", **values: Any) -> gs.Variable:
    """Append BatchNormalization of 6 channels; gammas include a negative one and a 0."""
    rng = np.random.default_rng(5)
    parameters = {
        "scale": np.array([1.5, -0.7, 0.0, 2.0, -3.0, 0.1]),
        "bias": rng.normal(size=CHANNELS),
        "mean": rng.normal(size=CHANNELS),
        "var": rng.uniform(0.3, 2, CHANNELS),
    }
    parameters.update(values)
    constants = [gs.Constant(f"{name}.{key}", np.float32(value)) for key, value in parameters.items()]
    output = gs.Variable(f"{name}.out", np.float32, source.shape)
    attrs = {"epsilon": 1e-3}
    graph.nodes.append(gs.Node("BatchNormalization", name, attrs, [source, *constants], [output]))
    return output


def network(op: str, weight: np.ndarray, bias: np.ndarray | None = None, **attrs: Any) -> gs.Graph:
    """x -> op -> BatchNormalization -> y."""
    shape = (2, 12, 7, 7) if op != "Gemm" else (2, 12)
    x, y = gs.Variable("x", np.float32, shape), gs.Variable("y", np.float32)
    inputs = [x, gs.Constant("w", weight.astype(np.float32))]
    if bias is not None:
        inputs.append(gs.Constant("b", bias.astype(np.float32)))
    graph = gs.Graph([gs.Node(op, "layer", attrs, inputs, [y])], [x], [], opset=17)
    y.shape = ("N", CHANNELS, *("H", "W")[: len(shape) - 2])
    graph.outputs = [batch_norm(graph, y)]
    return graph


def answers(graph: gs.Graph) -> np.ndarray:
    shape = graph.inputs[0].shape
    return run(graph, np.random.default_rng(9).normal(size=shape).astype(np.float32))


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(4).normal(0, 0.3, shape)


@pytest.mark.parametrize(
    "graph",
    [
        network("Conv", values(6, 12, 3, 3)),
        network("Conv", values(6, 12, 3, 3), values(6), pads=[1, 1, 1, 1], strides=[2, 2]),
        network("Conv", values(6, 4, 3, 3), values(6), group=3),
        network("ConvTranspose", values(12, 6, 3, 3), values(6)),
        network("Gemm", values(6, 12), values(6), transB=1),
        network("Gemm", values(12, 6), transB=0),
        network("Gemm", values(12, 6), values(1, 6), alpha=0.5, beta=3.0),
        network("Gemm", values(12, 6), np.array(0.3), beta=2.0),
    ],
    ids=lambda graph: f"{graph.nodes[0].op}{dict(graph.nodes[0].attrs)}",
)
def test_folding_answers_the_same(graph: gs.Graph) -> None:
    before = answers(graph)
    folds = fold_bn(graph)
    assert folds.folded == ("bn",)
    assert folds.kept == ()
    assert [node.op for node in graph.nodes] == [graph.nodes[0].op]
    # float32 rounding of sums of at most 108 products around 1
    assert np.abs(answers(graph) - before).max() < 1e-5 * max(1, np.abs(before).max())


def test_the_output_and_the_bias_keep_their_names() -> None:
    graph = network("Conv", values(6, 12, 3, 3), values(6))
    fold_bn(graph)
    node = graph.nodes[0]
    assert [t.name for t in node.inputs] == ["x", "w", "b"]
    assert node.outputs[0].name == "bn.out"
    unbiased = network("Conv", values(6, 12, 3, 3))
    fold_bn(unbiased)
    assert unbiased.nodes[0].inputs[2].name == "bn.bias.folded"


def test_two_in_a_row_fold_both() -> None:
    graph = network("Conv", values(6, 12, 3, 3))
    graph.outputs = [batch_norm(graph, graph.outputs[0], "again")]
    before = answers(graph)
    assert fold_bn(graph).folded == ("bn", "again")
    assert np.abs(answers(graph) - before).max() < 1e-5 * np.abs(before).max()


def test_zeros_of_a_pruned_weight_stay_plus_zero() -> None:
    weight = values(6, 12, 3, 3)
    weight[:, ::2] = 0
    graph = network("Conv", weight)
    fold_bn(graph)
    folded = graph.tensors()["w"].values
    assert np.all(folded[:, ::2] == 0)
    assert not np.any(np.signbit(folded[:, ::2]))


def test_a_shared_bias_is_left_to_its_other_reader() -> None:
    graph = network("Conv", values(6, 12, 3, 3), values(6))
    bias = graph.tensors()["b"]
    old = bias.values.copy()
    other = gs.Variable("other", np.float32)
    graph.nodes.append(gs.Node("Neg", "neg", {}, [bias], [other]))
    graph.outputs.append(other)
    assert fold_bn(graph).folded == ("bn",)
    assert np.array_equal(bias.values, old)
    assert graph.nodes[0].inputs[2].name == "b_1"


def quantized(factor: np.ndarray | None = None, scale_rank: int = 1) -> gs.Graph:
    weight = values(6, 12, 3, 3)
    scale = np.abs(weight).max((1, 2, 3)) / 127 if scale_rank else np.abs(weight).max() / 127
    graph = network("Conv", weight)
    axis = 0 if scale_rank else None
    graph.nodes[0].inputs[1] = pair(graph, graph.nodes[0].inputs[1], "w", scale, axis)
    if factor is not None:
        parameters = graph.tensors()
        parameters["bn.scale"].values = factor.astype(np.float32)
        parameters["bn.var"].values = np.full(6, 1 - 1e-3, np.float32)
    return graph.toposort()


@pytest.mark.parametrize("scale_rank", [1, 0])
def test_integers_stay_up_to_sign(scale_rank: int) -> None:
    graph = quantized(scale_rank=scale_rank)
    before = answers(graph)
    qdq.store_integers(graph)
    integers = graph.tensors()["w.quantized"].values.copy()
    gamma = graph.tensors()["bn.scale"].values
    assert fold_bn(graph).folded == ("bn",)
    sign = np.sign(gamma).astype(np.int8)[:, None, None, None]
    assert np.array_equal(graph.tensors()["w.quantized"].values, integers * sign)
    dequantize = next(node for node in graph.nodes if node.op == "DequantizeLinear")
    assert dequantize.attrs["axis"] == 0
    assert dequantize.inputs[1].shape == dequantize.inputs[2].shape == (6,)
    assert np.all(dequantize.inputs[1].values > 0)
    assert np.abs(answers(graph) - before).max() < 1e-5 * np.abs(before).max()


@settings(max_examples=40)
@given(arrays.arrays(np.float64, 6, elements=st.floats(-4, 4, width=32)))
def test_any_factor_folds_into_per_channel_scales(factor: np.ndarray) -> None:
    graph = quantized(factor)
    before = answers(graph)
    qdq.store_integers(graph)
    assert fold_bn(graph).folded == ("bn",)
    assert np.abs(answers(graph) - before).max() < 1e-5 * max(1, np.abs(before).max())
    qdq.store_floats(graph)
    assert np.abs(answers(graph) - before).max() < 1e-5 * max(1, np.abs(before).max())


def reason(graph: gs.Graph) -> str:
    ops = [node.op for node in graph.nodes]
    before = answers(graph)
    folds = fold_bn(graph)
    assert folds.folded == ()
    assert [node.op for node in graph.nodes] == ops
    assert np.array_equal(answers(graph), before)
    return folds.kept[0][1]


def test_another_reader_keeps_it() -> None:
    graph = network("Conv", values(6, 12, 3, 3))
    inner = graph.nodes[0].outputs[0]
    other = gs.Variable("other", np.float32)
    graph.nodes.append(gs.Node("Relu", "relu", {}, [inner], [other]))
    graph.outputs.append(other)
    assert reason(graph) == "the output of layer has other readers"


def test_a_graph_output_keeps_it() -> None:
    graph = network("Conv", values(6, 12, 3, 3))
    graph.outputs.append(graph.nodes[0].outputs[0])
    assert reason(graph) == "the output of layer has other readers"


def test_preactivation_keeps_it() -> None:
    x = gs.Variable("x", np.float32, (2, CHANNELS, 5, 5))
    graph = gs.Graph([], [x], [], opset=17)
    graph.outputs = [batch_norm(graph, x)]
    assert reason(graph) == "it follows the input, not a convolution"


def test_a_pair_between_keeps_it() -> None:
    graph = network("Conv", values(6, 12, 3, 3))
    bn = graph.nodes[1]
    bn.inputs[0] = pair(graph, bn.inputs[0], "t", 0.05)
    graph.toposort()
    assert reason(graph) == "Q/DQ stands between it and layer"


def test_a_grouped_transposed_convolution_keeps_it() -> None:
    graph = network("ConvTranspose", values(12, 3, 3, 3), group=2)
    assert reason(graph) == "layer is a grouped ConvTranspose"


def test_a_shared_weight_keeps_it() -> None:
    graph = network("Conv", values(6, 12, 3, 3))
    x, weight = graph.inputs[0], graph.tensors()["w"]
    other = gs.Variable("other", np.float32)
    graph.nodes.append(gs.Node("Conv", "twin", {}, [x, weight], [other]))
    graph.outputs.append(other)
    assert reason(graph) == "the weight of layer is shared"


def test_a_bias_per_row_keeps_it() -> None:
    graph = network("Gemm", values(12, 6), values(2, 6))
    assert reason(graph) == "the bias of layer differs between rows"


def test_minus_128_keeps_it() -> None:
    graph = quantized(np.full(6, -1.0))
    scale = graph.tensors()["w.scale"]
    scale.values = scale.values * np.float32(0.5)
    qdq.store_integers(graph)
    assert reason(graph) == "its weight holds the integer -128, which has no opposite"


def test_values_beyond_float32_keep_it() -> None:
    graph = network("Conv", values(6, 12, 3, 3) * 1e30)
    graph.tensors()["bn.scale"].values = np.full(6, 1e20, np.float32)
    assert fold_bn(graph).kept == (("bn", "the folded values do not fit float32"),)


def test_a_variance_that_is_not_positive_keeps_it() -> None:
    graph = network("Conv", values(6, 12, 3, 3))
    graph.tensors()["bn.var"].values = np.full(6, -1, np.float32)
    assert fold_bn(graph).kept == (("bn", "its variance is not above 0"),)
