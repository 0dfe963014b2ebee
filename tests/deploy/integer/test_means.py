from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.deploy.integer.means import use_pooling
from onnxcomp.deploy.targets import get_target
from onnxcomp.model import from_proto, to_proto
from tests import means, zoo
from tests.deploy.integer.small import fused, node, pair, run, start
from tests.deploy.networks import compressed, images, logits


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("name", ["resnet", "mobilenet", "densenet"])
def test_a_network_with_a_mean_runs_in_integers(
    name: str, opset: int, keepdims: bool, tmp_path: Path
) -> None:
    before = compressed(
        from_proto(means.with_mean(zoo.ALL[name](opset), keepdims=keepdims)), "qat", placement="ort-cpu"
    )
    after, report = finalize_report(before, get_target("ort-cpu"))
    proto = to_proto(after)
    onnx.checker.check_model(proto, full_check=True)
    assert report.kernels is not None
    assert report.kernels.floats == ()
    ops = [one.op_type for one in fused(proto.SerializeToString(), tmp_path)]
    assert (ops.count("QLinearGlobalAveragePool"), ops.count("ReduceMean")) == (1, 0)
    assert ops.count("DequantizeLinear") == 0
    batch = images(before, 16)
    expected = logits(before, batch).astype(np.float64)
    noise = np.mean((logits(after, batch) - expected) ** 2)
    assert 10 * np.log10(np.mean(expected**2) / noise) >= 38  # as in test_form


def test_gates_of_means_run_in_integers_as_those_of_pooling_do(tmp_path: Path) -> None:
    found = []
    for proto in (zoo.MORE["mobilenet_v3"](), means.with_mean(zoo.MORE["mobilenet_v3"](), keepdims=True)):
        before = compressed(from_proto(proto), "qat", placement="ort-cpu")
        after, report = finalize_report(before, get_target("ort-cpu"))
        assert report.kernels is not None
        ops = [one.op_type for one in fused(to_proto(after).SerializeToString(), tmp_path)]
        found.append((report.kernels.integer, len(report.kernels.floats), sorted(ops)))
    assert found[0] == found[1]


def test_behind_a_quantizer_integers_are_flattened() -> None:
    graph, x = start(2, 4, 3, 5)
    mean = node(graph, "ReduceMean", [pair(graph, x, 0.05, 128)], (2, 4), "mean", axes=[2, 3], keepdims=0)
    graph.outputs = [node(graph, "Relu", [pair(graph, mean, 0.01, 128)], (2, 4))]
    data = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)
    expected = run(graph, data)
    assert use_pooling(graph) == 1
    by_op = {one.op: one for one in graph.nodes}
    assert by_op["GlobalAveragePool"].outputs[0].outputs[0].op == "QuantizeLinear"
    assert by_op["Flatten"].inputs[0].dtype == np.uint8
    assert np.abs(run(graph, data) - expected).max() <= 0.01 + 1e-6  # a step where float32 rounds otherwise


@pytest.mark.parametrize("keepdims", [0, 1])
def test_without_pairs_it_answers_the_same(keepdims: int) -> None:
    graph, x = start(2, 4, 3, 5)
    shape = (2, 4, 1, 1) if keepdims else (2, 4)
    graph.outputs = [node(graph, "ReduceMean", [x], shape, axes=[3, -2], keepdims=keepdims)]
    data = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)
    expected = run(graph, data)
    assert use_pooling(graph) == 1
    assert [one.op for one in graph.nodes] == ["GlobalAveragePool", "Flatten"][: 2 - keepdims]
    np.testing.assert_allclose(run(graph, data), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("axes", [[1], [3], [1, 2, 3]])
def test_other_means_stay(axes: list[int]) -> None:
    graph, x = start(2, 4, 3, 5)
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    graph.outputs = [node(graph, "ReduceMean", [x], shape, axes=axes)]
    assert use_pooling(graph) == 0
    assert [one.op for one in graph.nodes] == ["ReduceMean"]
