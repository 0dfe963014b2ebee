from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp.deploy.integer.bias import quantize_biases
from tests.deploy.integer.small import fused, integers, node, pair, run, start

INPUT, OUTPUT = 0.02, 0.1


def network(bias: np.ndarray, scale: np.ndarray | float = 0.01, zero: int = 110) -> gs.Graph:
    """x -> pair -> Conv 3x3 with bias -> pair; 6 -> 8 channels."""
    graph, x = start(2, 6, 8, 8)
    values = np.random.default_rng(0).integers(-127, 128, (8, 6, 3, 3))
    inputs = [pair(graph, x, INPUT, zero), integers(graph, "w", values, np.asarray(scale))]
    inputs.append(gs.Constant("b", bias.astype(np.float32)))
    y = node(graph, "Conv", inputs, (2, 8, 8, 8), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    graph.outputs = [pair(graph, y, OUTPUT, 90)]
    return graph.toposort()


def images() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 6, 8, 8)).astype(np.float32)


def bias() -> np.ndarray:
    return np.random.default_rng(2).normal(size=8)


@pytest.mark.parametrize("scale", [0.01, np.linspace(0.001, 0.02, 8)])
def test_the_kernel_adds_the_bias(scale: Any, tmp_path: Path) -> None:
    graph = network(bias(), scale)
    before = run(graph, images())
    assert "QLinearConv" not in {one.op_type for one in fused(graph, tmp_path)}
    assert quantize_biases(graph) == (1, [])
    assert graph.tensors()["b.quantized"].dtype == np.int32
    steps = np.broadcast_to(np.float32(INPUT) * np.float32(scale), 8).astype(np.float32)
    assert np.array_equal(graph.tensors()["b.scale"].values, steps)
    error = graph.tensors()["b.quantized"].values * steps - bias()
    assert np.all(np.abs(error) <= steps * 0.501)
    for integer in (False, True):
        moved = np.abs(run(graph, images(), integer=integer) - before) / OUTPUT
        assert moved.max() <= 1.001
        assert np.mean(moved > 0.5) <= 0.01
    assert "QLinearConv" in {one.op_type for one in fused(graph, tmp_path)}


def test_a_bias_beyond_int32_makes_its_channel_coarser() -> None:
    """Of a channel that folding made tiny: what it computes is far below one step of its bias."""
    scale = np.full(8, 0.01)
    scale[3], scale[6] = 1e-12, 1e-37
    graph = network(bias(), scale)
    before = run(graph, images())
    assert quantize_biases(graph) == (1, [])
    weight = graph.tensors()["w.quantized"]
    assert weight.values.shape == (8, 6, 3, 3)
    assert np.all(weight.values[[3, 6]] == 0)
    assert graph.tensors()["w.scale"].values[0] == np.float32(0.01)
    assert np.abs(graph.tensors()["b.quantized"].values).max() < 2**31 - 1
    for integer in (False, True):
        moved = np.abs(run(graph, images(), integer=integer) - before) / OUTPUT
        assert moved.max() <= 1.001
        assert np.mean(moved > 0.5) <= 0.01


@pytest.mark.parametrize("unused", [1.0, 1e-30])
def test_the_bias_of_a_channel_without_weights_keeps_its_digits(unused: float) -> None:
    """Its scale says nothing: it is 1 where all weights are pruned, and steps of 1 * INPUT are too coarse."""
    scale = np.full(8, 0.01)
    scale[[2, 5]] = unused
    graph = network(bias(), scale)
    weight = graph.tensors()["w.quantized"]
    weight.values = np.where(np.arange(8).reshape(-1, 1, 1, 1) % 3 == 2, 0, weight.values).astype(np.int8)
    assert quantize_biases(graph) == (1, [])
    steps = graph.tensors()["b.scale"].values
    found = graph.tensors()["b.quantized"].values * steps.astype(np.float64)
    # Half of a step of 2^-20 of it.
    np.testing.assert_allclose(found[[2, 5]], bias()[[2, 5]], rtol=2.0**-20)
    np.testing.assert_array_equal(steps, np.float32(INPUT) * graph.tensors()["w.scale"].values)


def test_sums_beyond_int32_stay_float() -> None:
    graph, x = start(1, 70_000)
    values = np.full((70_000, 2), 127)
    inputs = [pair(graph, x, INPUT, 0), integers(graph, "w", values, np.full(2, 0.1), 1)]
    y = node(graph, "Gemm", [*inputs, gs.Constant("b", np.ones(2, np.float32))], (1, 2))
    graph.outputs = [y]
    assert quantize_biases(graph) == (0, [("y.node", "its sums do not fit INT32")])
    assert graph.tensors()["b"].dtype == np.float32


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_gemm(trans: int, beta: float, tmp_path: Path) -> None:
    graph, x = start(4, 30)
    values = np.random.default_rng(0).integers(-127, 128, (8, 30) if trans else (30, 8))
    inputs = [pair(graph, x, INPUT, 128), integers(graph, "w", values, np.linspace(0.01, 0.02, 8), 1 - trans)]
    inputs.append(gs.Constant("b", bias().astype(np.float32)[None]))
    graph.outputs = [node(graph, "Gemm", inputs, (4, 8), transB=trans, beta=beta)]
    x_values = np.random.default_rng(1).normal(size=(4, 30)).astype(np.float32)
    before = run(graph, x_values)
    assert quantize_biases(graph) == (1, [])
    for integer in (False, True):  # half a step of the bias, and float32
        assert np.abs(run(graph, x_values, integer=integer) - before).max() <= INPUT * 0.02 / 2 + 1e-5
    assert "QGemm" in {one.op_type for one in fused(graph, tmp_path)}


def test_a_gemm_that_scales_or_a_layer_without_pairs_keeps_its_bias() -> None:
    graph, x = start(4, 30)
    values = np.ones((30, 8))
    inputs = [pair(graph, x, INPUT, 128), integers(graph, "w", values, np.full(8, 0.01), 1)]
    inputs.append(gs.Constant("b", bias().astype(np.float32)))
    graph.outputs = [node(graph, "Gemm", inputs, (4, 8), alpha=2.0)]
    assert quantize_biases(graph) == (0, [("y.node", "it is scaled or transposed")])
    graph = network(bias())
    graph.outputs = [graph.tensors()["y"]]
    graph.cleanup()
    assert quantize_biases(graph) == (0, [])
    assert graph.tensors()["b"].dtype == np.float32
