"""Each loss against the paper's formula in float64."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import extras
from onnxcomp.passes.distill import losses


def value(build: object, opset: int, *arrays: np.ndarray) -> float:
    """Run a loss of named inputs."""
    inputs = [gs.Variable(f"x{i}", np.float32, a.shape) for i, a in enumerate(arrays)]
    graph = gs.Graph(inputs=inputs, opset=opset, ir_version=8)
    output = build(graph, inputs)  # type: ignore[operator]
    output.shape = ()
    graph.outputs = [output]
    proto = gs.export_onnx(graph.cleanup().toposort())
    session = extras.onnxruntime().InferenceSession(proto.SerializeToString())
    (result,) = session.run(None, {f"x{i}": a for i, a in enumerate(arrays)})
    assert result.shape == ()
    return float(result)


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
@pytest.mark.parametrize("shape", [(1, 2), (5, 10), (3, 101)])
def test_soft_targets(opset: int, temperature: float, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    student, teacher = (3 * rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    found = value(lambda g, x: losses.soft_targets(g, x[0], x[1], temperature), opset, student, teacher)
    s, t = (log_softmax(x.astype(np.float64) / temperature) for x in (student, teacher))
    expected = temperature**2 * np.mean((np.exp(t) * (t - s)).sum(1))
    # T^2 multiplies float32 rounding of probabilities near 1.
    assert found == pytest.approx(expected, rel=1e-5, abs=2e-7 * temperature**2)


def test_soft_targets_of_equals_are_zero() -> None:
    logits = np.random.default_rng(0).standard_normal((4, 10)).astype(np.float32)
    assert abs(value(lambda g, x: losses.soft_targets(g, x[0], x[1], 4.0), 17, logits, logits)) < 1e-6


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0])
def test_boundary(opset: int, margin: float) -> None:
    rng = np.random.default_rng(0)
    shapes = [(2, 3, 5, 5), (2, 7, 3, 1)]
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes for _ in range(2)]
    found = value(lambda g, x: losses.boundary(g, [(x[0], x[1]), (x[2], x[3])], margin), opset, *arrays)

    def paper(s: np.ndarray, t: np.ndarray) -> float:
        active = t > 0
        hinge = np.where(active, np.maximum(0, margin - s), np.maximum(0, margin + s))
        return float(np.mean(hinge.astype(np.float64) ** 2))

    expected = (paper(arrays[0], arrays[1]) + paper(arrays[2], arrays[3])) / 2
    assert found == pytest.approx(expected, rel=1e-5)
