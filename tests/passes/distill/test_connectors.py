"""Connectors: sizes, widths, numbers, gradients, and that nothing of them is deployed."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxcomp import extras
from onnxcomp.graphs import CONNECTOR_PREFIX
from onnxcomp.passes.distill.connectors import Connected, connect
from onnxcomp.passes.distill.pairing import Pair


def connected(own: tuple[int, ...], other: tuple[int, ...], **options: bool) -> tuple[gs.Graph, Connected]:
    student, teacher = gs.Variable("s", np.float32, own), gs.Variable("t", np.float32, other)
    graph = gs.Graph(inputs=[student, teacher], opset=13, ir_version=8)
    found = connect(graph, "boundary/0", Pair(student, teacher, "t"), **options)
    graph.outputs = [found.student, found.teacher]
    return graph, found


def values(graph: gs.Graph, **arrays: np.ndarray) -> list[np.ndarray]:
    graph = graph.copy()
    graph.outputs = [tensor for tensor in graph.outputs if tensor.inputs]
    graph.cleanup(remove_unused_graph_inputs=True).toposort()
    session = extras.onnxruntime().InferenceSession(gs.export_onnx(graph).SerializeToString())
    names = {entry.name for entry in session.get_inputs()}
    found: list[np.ndarray] = session.run(None, {n: a for n, a in arrays.items() if n in names})
    return found


def adaptive(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Adaptive average pooling, written as its definition."""
    result = np.empty((*x.shape[:2], *size))
    for i in range(size[0]):
        for j in range(size[1]):
            rows = slice(i * x.shape[2] // size[0], -(-(i + 1) * x.shape[2] // size[0]))
            columns = slice(j * x.shape[3] // size[1], -(-(j + 1) * x.shape[3] // size[1]))
            result[:, :, i, j] = x[:, :, rows, columns].astype(np.float64).mean((2, 3))
    return result


def test_equal_shapes_need_nothing() -> None:
    graph, found = connected((2, 5, 4, 4), (2, 5, 4, 4))
    assert not graph.nodes
    assert (found.student.name, found.teacher.name, found.what) == ("s", "t", "")


sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=40)
@given(own=sizes, other=sizes, seed=st.integers(0, 99))
def test_the_larger_is_averaged_to_the_smaller(
    own: tuple[int, int], other: tuple[int, int], seed: int
) -> None:
    graph, found = connected((2, 3, *own), (2, 3, *other))
    size = (min(own[0], other[0]), min(own[1], other[1]))
    rng = np.random.default_rng(seed)
    arrays = {"s": rng.standard_normal((2, 3, *own)), "t": rng.standard_normal((2, 3, *other))}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    expected = [adaptive(arrays[n], size) for n, now in (("s", own), ("t", other)) if now != size]
    assert tuple(found.student.shape[2:]) == tuple(found.teacher.shape[2:]) == size
    if not expected:
        assert own == other
        return
    for result, wanted in zip(values(graph, **arrays), expected, strict=True):
        np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-6)  # float32 means of at most 81 values


def test_a_vector_beside_a_map_meets_its_mean() -> None:
    graph, found = connected((2, 6), (2, 6, 3, 5))
    assert list(found.student.shape) == list(found.teacher.shape) == [2, 6]
    x = np.random.default_rng(0).standard_normal((2, 6, 3, 5)).astype(np.float32)
    (result,) = values(graph, t=x)
    np.testing.assert_allclose(result, x.astype(np.float64).mean((2, 3)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("tail", [(), (3, 2)])
def test_widths_are_met_by_a_convolution_and_batch_norm(tail: tuple[int, ...]) -> None:
    graph, found = connected((4, 5, *tail), (4, 7, *tail))
    assert [node.op for node in graph.nodes][1] == "BatchNormalization"
    assert list(found.student.shape) == [4, 7, *tail]
    assert all(node.name.startswith(CONNECTOR_PREFIX) for node in graph.nodes)
    constants = {n: t.values for n, t in graph.tensors().items() if isinstance(t, gs.Constant)}
    weight = constants[f"{CONNECTOR_PREFIX}boundary/0/weight"]
    weight = weight.reshape(7, 5) if tail else weight.T
    x = np.random.default_rng(0).standard_normal((4, 5, *tail)).astype(np.float32)
    (result,) = values(graph, s=x)
    expected = np.einsum("oc,nc...->no...", weight.astype(np.float64), x) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


def test_attention_needs_no_equal_widths() -> None:
    graph, found = connected((4, 5, 3, 2), (4, 7, 3, 2), widths=False)
    assert not graph.nodes
    assert not found.what


def test_the_same_pair_begins_with_the_same_weights() -> None:
    first, second = (connected((4, 5, 2, 2), (4, 7, 2, 2))[0] for _ in range(2))
    name = f"{CONNECTOR_PREFIX}boundary/0/weight"
    np.testing.assert_array_equal(first.tensors()[name].values, second.tensors()[name].values)
