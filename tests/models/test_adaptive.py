"""Adaptive average pooling against its definition, and its gradient."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcomp import pipeline
from onnxcomp.model import from_proto
from onnxcomp.models.adaptive import adaptive_average
from onnxcomp.models.writer import Writer
from onnxcomp.student import subgraph
from onnxcomp.training import engine
from tests import run


def cells(x: np.ndarray, grid: int) -> np.ndarray:
    """PyTorch's documented cells, written as loops."""
    size = x.shape[-1]
    result = np.empty((*x.shape[:2], grid, grid), np.float32)
    for i in range(grid):
        for j in range(grid):
            rows = slice(i * size // grid, int(np.ceil((i + 1) * size / grid)))
            columns = slice(j * size // grid, int(np.ceil((j + 1) * size / grid)))
            result[:, :, i, j] = x[:, :, rows, columns].mean((2, 3))
    return result


def network(size: int, grid: int) -> onnx.ModelProto:
    net = Writer(0)
    x = net.relu("relu", net.conv("conv", "input", (3, 3, 1)))
    x = net.node("Flatten", "flatten", [adaptive_average(net, x, size, grid)], axis=1)
    net.linear("fc", x, (4, 3 * grid * grid), output="logits")
    return net.finish("pool", ["N", 3, size, size], ["N", 4])


@pytest.mark.parametrize(
    ("size", "grid"),
    [(1, 7), (2, 7), (3, 6), (6, 7), (7, 7), (8, 7), (9, 7), (14, 7), (16, 7), (7, 3), (6, 3)],
)
def test_adaptive_average(size: int, grid: int) -> None:
    """To 1e-6: sums of at most nine numbers."""
    proto = network(size, grid)
    onnx.checker.check_model(proto, full_check=True)
    model = from_proto(proto)
    found = run.outputs(subgraph(model, ["relu", "flatten"]), run.images(model, 2))
    pooled = found["flatten"].reshape(2, 3, grid, grid)
    np.testing.assert_allclose(pooled, cells(found["relu"], grid), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 14])
def test_adaptive_average_can_be_trained(size: int) -> None:
    model = pipeline.with_task_loss(from_proto(network(size, 7)))
    trained = engine.build(model, batch_size=2, threads=1)
    trained.step(run.images(model, 2), np.array([0, 1]))
    assert np.abs(trained.gradients["conv.weight"]).max() > 0
