from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp.deploy.integer.batch_norm import use_convolutions
from onnxcomp.deploy.integer.bias import quantize_biases
from tests.deploy.integer.small import fused, node, ops, pair, run, start

CHANNELS = 24
INPUT, OUTPUT = 0.03, 0.05


def network(*, size: int = 9, quantized: bool = True) -> gs.Graph:
    """x -> pair -> BatchNormalization -> pair; one gamma is 0, some are negative, sizes differ a lot."""
    graph, x = start(2, CHANNELS, size, size)
    rng = np.random.default_rng(3)
    gamma = rng.normal(0, 1, CHANNELS) * 10.0 ** rng.uniform(-2, 1, CHANNELS)
    gamma[5] = 0
    parameters = (gamma, rng.normal(0, 2, CHANNELS), rng.normal(size=CHANNELS), rng.uniform(0.3, 2, CHANNELS))
    constants = [
        gs.Constant(f"bn.{name}", value.astype(np.float32))
        for name, value in zip(("weight", "bias", "mean", "var"), parameters, strict=True)
    ]
    inputs = [pair(graph, x, INPUT, 120), *constants]
    y = node(graph, "BatchNormalization", inputs, x.shape, epsilon=1e-3)
    graph.outputs = [pair(graph, y, OUTPUT, 100)] if quantized else [y]
    return graph.toposort()


def images(graph: gs.Graph) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1.5, graph.inputs[0].shape).astype(np.float32)


def test_it_answers_as_batch_normalization_but_for_single_steps(tmp_path: Path) -> None:
    """The shift is rounded by at most half of a 127th of what one input step makes in the output."""
    graph = network()
    x = images(graph)
    before = run(graph, x)
    assert use_convolutions(graph) == (1, [])
    exact = run(graph, x)
    assert np.mean(exact != before) <= 1e-3  # another order of the same float32 operations
    assert quantize_biases(graph) == (1, [])
    for integer in (False, True):
        steps = np.abs(run(graph, x, integer=integer) - before) / OUTPUT
        assert steps.max() <= 1.001
        assert np.mean(steps > 0.5) <= 0.02
    assert [one.op_type for one in fused(graph, tmp_path)] == [
        "QuantizeLinear",
        "Transpose",
        "QLinearConv",
        "Transpose",
        "DequantizeLinear",
    ]


def test_a_channel_without_gamma_is_its_shift() -> None:
    graph = network()
    x = images(graph)
    use_convolutions(graph)
    quantize_biases(graph)
    beta = graph.tensors()["bn.bias.quantized"]
    assert beta.dtype == np.int32
    assert np.all(graph.tensors()["bn.weight.quantized"].values[5] == 0)
    constant = run(graph, x)[:, 5]
    assert np.unique(constant).size == 1
    assert np.array_equal(constant, run(network(), x)[:, 5])


def test_what_is_not_between_pairs_stays() -> None:
    graph = network(quantized=False)
    assert use_convolutions(graph) == (0, [("y.node", "its output is not quantized")])
    graph, x = start(2, 3)
    constants = [gs.Constant(name, np.ones(3, np.float32)) for name in ("gamma", "beta", "mean", "var")]
    y = node(graph, "BatchNormalization", [pair(graph, x, INPUT, 1), *constants], x.shape)
    graph.outputs = [pair(graph, y, OUTPUT, 1)]
    assert use_convolutions(graph) == (0, [("y.node", "its input is no image")])
    graph.nodes[-3].inputs[0] = x
    assert use_convolutions(graph)[1] == [("y.node", "its input is not quantized")]
    assert ops(graph)["BatchNormalization"] == 1


@pytest.mark.parametrize(("index", "value", "reason"), [(1, np.inf, "not finite"), (4, -1.0, "not above 0")])
def test_parameters_that_make_no_scale_stay(index: int, value: float, reason: str) -> None:
    graph = network()
    bn = next(one for one in graph.nodes if one.op == "BatchNormalization")
    bn.inputs[index].values = np.full(CHANNELS, value, np.float32)
    count, kept = use_convolutions(graph)
    assert count == 0
    assert reason in kept[0][1]
