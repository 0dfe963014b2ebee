from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxcomp import extras, graphs
from onnxcomp.deploy import qdq
from onnxcomp.deploy.targets import get_target
from onnxcomp.errors import ModelError
from onnxcomp.runtime import EXACT


def pair(graph: gs.Graph, source: gs.Tensor, name: str, scale: Any, axis: int | None = None) -> gs.Variable:
    attrs = {} if axis is None else {"axis": axis}
    scale = np.asarray(scale, np.float32)
    parameters = [
        gs.Constant(f"{name}.scale", scale),
        gs.Constant(f"{name}.zero_point", np.zeros(scale.shape, np.int8)),
    ]
    quantized = gs.Variable(f"{name}.quantized", np.int8, source.shape)
    dequantized = gs.Variable(f"{name}.dequantized", np.float32, source.shape)
    graph.nodes += [
        gs.Node("QuantizeLinear", f"qat/{name}/quantize", attrs, [source, *parameters], [quantized]),
        gs.Node("DequantizeLinear", f"qat/{name}/dequantize", attrs, [quantized, *parameters], [dequantized]),
    ]
    return dequantized


def convolution(weights: np.ndarray, weight_scale: np.ndarray, out_scale: float | None = None) -> gs.Graph:
    """x -> Q/DQ -> Conv with Q/DQ on its weight [-> Q/DQ] -> y; x is (2, C, 9, 9)."""
    x = gs.Variable("x", np.float32, (2, weights.shape[1], 9, 9))
    y = gs.Variable("y", np.float32, (2, weights.shape[0], 9, 9))
    graph = gs.Graph([], [x], [y], opset=17)
    weight = pair(graph, gs.Constant("w", weights), "w", weight_scale, axis=0)
    inputs = [pair(graph, x, "x", 0.02), weight]
    attrs = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    graph.nodes.append(gs.Node("Conv", "conv", attrs, inputs, [y]))
    if out_scale is not None:
        graph.outputs = [pair(graph, y, "y", out_scale)]
    return graph.toposort()


def run(graph: gs.Graph, x: np.ndarray, *, optimize: bool = False) -> np.ndarray:
    runtime = extras.onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry(*EXACT)
    if not optimize:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = gs.export_onnx(graph, do_type_check=False, ir_version=8).SerializeToString()
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.fixture
def weights() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.2, (8, 4, 3, 3)).astype(np.float32)


@pytest.fixture
def scales(weights: np.ndarray) -> np.ndarray:
    return (np.abs(weights).max((1, 2, 3)) / 127).astype(np.float32)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 4, 9, 9)).astype(np.float32)


def test_quantize_is_what_the_runtime_computes(weights: np.ndarray, scales: np.ndarray) -> None:
    w = gs.Variable("x", np.float32, weights.shape)
    graph = gs.Graph([], [w], [], opset=17)
    pair(graph, w, "w", scales, axis=0)
    graph.outputs = [graph.nodes[0].outputs[0]]
    graph.nodes.pop()
    assert np.array_equal(run(graph, weights), qdq.quantize(weights, scales, 0))


def test_integer_weights_answer_the_same(weights: np.ndarray, scales: np.ndarray, x: np.ndarray) -> None:
    graph = convolution(weights, scales)
    before = run(graph, x)
    assert qdq.store_integers(graph) == 1
    ops = [node.op for node in graph.nodes]
    assert sorted(ops) == ["Conv", "DequantizeLinear", "DequantizeLinear", "QuantizeLinear"]
    stored = graph.tensors()["w.quantized"]
    assert stored.dtype == np.int8
    assert np.array_equal(run(graph, x), before)


def test_float_weights_lie_on_their_grid(weights: np.ndarray, scales: np.ndarray, x: np.ndarray) -> None:
    graph = convolution(weights, scales)
    before = run(graph, x)
    qdq.store_integers(graph)
    qdq.store_floats(graph)
    stored = graph.tensors()["w"]
    integers = qdq.quantize(weights, scales, 0)
    assert stored.dtype == np.float32
    assert np.array_equal(stored.values, qdq.dequantize(integers, scales, 0))
    assert np.array_equal(qdq.quantize(stored.values, scales, 0), integers)
    assert [q.axis for q in graphs.quantizers(graph) if q.weight is not None] == [0]
    assert np.array_equal(run(graph, x), before)


def test_uint8_activations_answer_the_same(weights: np.ndarray, scales: np.ndarray, x: np.ndarray) -> None:
    graph = convolution(weights, scales)
    before = run(graph, x)
    qdq.use_uint8_activations(graph)
    zeros = {q.source.name: q.quantize.inputs[2] for q in graphs.quantizers(graph)}
    assert (zeros["x"].values, zeros["x"].dtype, zeros["x"].name) == (128, np.uint8, "x.zero_point")
    assert zeros["w"].dtype == np.int8
    assert np.array_equal(run(graph, x), before)


def test_integer_kernels_agree_on_both_activation_forms(scales: np.ndarray, x: np.ndarray) -> None:
    """QLinearConv of uint8 and of int8 activations; weights within 64 steps cannot saturate 16 bits."""
    integers = np.random.default_rng(3).integers(-64, 65, (8, 4, 3, 3)).astype(np.int8)
    step = 0.05
    answers = []
    for unsigned in (False, True):
        graph = convolution(qdq.dequantize(integers, scales, 0), scales, out_scale=step)
        qdq.store_integers(graph)
        if unsigned:
            qdq.use_uint8_activations(graph)
        answers.append(run(graph, x, optimize=True))
    # Both round the same int32 sums times the same float32 factor: at most one step apart.
    assert np.abs(answers[0] - answers[1]).max() <= step * 1.001
    assert np.mean(answers[0] != answers[1]) < 0.001


@settings(max_examples=100)
@given(
    arrays.arrays(np.int8, (4, 6), elements=st.integers(-128, 127)),
    arrays.arrays(np.float32, 4, elements=st.floats(2.0**-100, 2.0**100, width=32)),
)
def test_quantizing_grid_values_gives_back_the_integers(integers: np.ndarray, scale: np.ndarray) -> None:
    assert np.array_equal(qdq.quantize(qdq.dequantize(integers, scale, 0), scale, 0), integers)


def test_what_onnxcomp_writes_is_symmetric(weights: np.ndarray, scales: np.ndarray) -> None:
    graph = convolution(weights, scales)
    qdq.check_pairs(graph, get_target("orin"))
    assert len(graph.nodes) == 5


def _two_inputs(node: gs.Node) -> None:
    node.inputs.pop()


def _unsigned(node: gs.Node) -> None:
    node.inputs[2].values = np.uint8(node.inputs[2].values)


def _shifted(node: gs.Node) -> None:
    node.inputs[2].values = np.int8(node.inputs[2].values + 3)


def _zero_scale(node: gs.Node) -> None:
    node.inputs[1].values = np.zeros_like(node.inputs[1].values)


def _other_scale(node: gs.Node) -> None:
    node.inputs[1] = gs.Constant("other", np.asarray(0.5, np.float32))


def _per_channel(node: gs.Node) -> None:
    node.inputs[1].values = np.full(4, 0.1, np.float32)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_two_inputs, "has no constant zero point"),
        (_unsigned, "is UINT8, for ONNX Runtime on a CPU; apply qat with --target orin$"),
        (_shifted, "is not symmetric INT8"),
        (_zero_scale, "scale is not float32 above 0"),
        (_other_scale, "have different scales"),
        (_per_channel, "quantizes an activation per channel"),
    ],
)
def test_other_quantization_is_refused(
    damage: Any, message: str, weights: np.ndarray, scales: np.ndarray
) -> None:
    graph = convolution(weights, scales)
    node = next(node for node in graph.nodes if node.name == "qat/x/quantize")
    damage(node)
    with pytest.raises(ModelError, match=message) as caught:
        qdq.check_pairs(graph, get_target("orin"))
    assert "qat/x/" in str(caught.value)


@pytest.mark.parametrize("axis", [0, 9])
def test_a_weight_whose_scale_does_not_fit_is_refused(
    axis: int, weights: np.ndarray, scales: np.ndarray
) -> None:
    graph = convolution(weights, scales)
    for node in graph.nodes:
        if node.name.startswith("qat/w/"):
            node.attrs["axis"] = axis
            node.inputs[1] = gs.Constant(f"{node.name}.scale", np.ones(len(scales) + (axis == 0), np.float32))
            node.inputs[2] = gs.Constant(f"{node.name}.zero", np.zeros(len(scales) + (axis == 0), np.int8))
    with pytest.raises(ModelError, match="qat/w/quantize: its scale does not fit what it scales"):
        qdq.check_pairs(graph, get_target("orin"))


@pytest.mark.parametrize("zero", [0, 128, 255])
def test_unsigned_activations_are_for_the_cpu(zero: int, weights: np.ndarray, scales: np.ndarray) -> None:
    graph = convolution(weights, scales)
    for quantizer in graphs.quantizers(graph):
        if quantizer.weight is None:
            quantizer.quantize.inputs[2] = gs.Constant("zero", np.array(zero, np.uint8))
            quantizer.dequantize.inputs[2] = quantizer.quantize.inputs[2]
    qdq.check_pairs(graph, get_target("ort-cpu"))
    for name in ("xavier", "orin"):
        with pytest.raises(ModelError, match=f"qat/x/quantize: .*; apply qat with --target {name}$"):
            qdq.check_pairs(graph, get_target(name))


def test_pairs_for_the_cpu_are_checked_too(weights: np.ndarray, scales: np.ndarray) -> None:
    graph = convolution(weights, scales)
    by_weight = {quantizer.weight is not None: quantizer for quantizer in graphs.quantizers(graph)}
    by_weight[False].dequantize.inputs[2] = gs.Constant("other", np.array(1, np.uint8))
    by_weight[False].quantize.inputs[2] = gs.Constant("zero", np.array(0, np.uint8))
    with pytest.raises(ModelError, match="qat/x/quantize: and qat/x/dequantize have different zero points"):
        qdq.check_pairs(graph, get_target("ort-cpu"))
    graph = convolution(weights, scales)
    for quantizer in graphs.quantizers(graph):
        if quantizer.weight is not None:
            quantizer.quantize.inputs[2] = gs.Constant("zero", np.zeros(8, np.uint8))
    with pytest.raises(ModelError, match="qat/w/quantize: QuantizeLinear is not symmetric INT8"):
        qdq.check_pairs(graph, get_target("ort-cpu"))


def test_integers_without_a_quantizer_are_refused(weights: np.ndarray, scales: np.ndarray) -> None:
    graph = convolution(weights, scales)
    qdq.store_integers(graph)
    with pytest.raises(ModelError, match="qat/w/dequantize: has no QuantizeLinear before it"):
        qdq.check_pairs(graph, get_target("orin"))
