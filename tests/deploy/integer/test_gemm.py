from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp.deploy.integer.bias import quantize_biases
from onnxcomp.deploy.integer.gemm import use_gemm
from tests.deploy.integer.small import fused, integers, node, ops, pair, run, start


def network(*, rank: int = 2, bias: tuple[int, ...] = (5,), first: bool = False) -> gs.Graph:
    """x -> pair -> MatMul -> Add of a constant."""
    shape = (3, 7)[-rank:] if rank == 2 else (2, 3, 7)
    graph, x = start(*shape)
    values = np.random.default_rng(0).integers(-127, 128, (7, 5))
    y = node(
        graph,
        "MatMul",
        [pair(graph, x, 0.02, 128), integers(graph, "w", values, np.full(5, 0.01), 1)],
        (*shape[:-1], 5),
        "product",
    )
    constant = gs.Constant("b", np.random.default_rng(1).normal(size=bias).astype(np.float32))
    graph.outputs = [node(graph, "Add", [constant, y] if first else [y, constant], (*shape[:-1], 5))]
    return graph.toposort()


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("bias", [(5,), (1, 5), (1,)])
def test_a_matrix_and_its_bias_become_one_kernel(bias: tuple[int, ...], first: bool, tmp_path: Path) -> None:
    graph = network(bias=bias, first=first)
    x = np.random.default_rng(2).normal(size=(3, 7)).astype(np.float32)
    before = run(graph, x)
    assert use_gemm(graph) == 1
    assert ops(graph) == {"QuantizeLinear": 1, "DequantizeLinear": 2, "Gemm": 1}
    assert np.abs(run(graph, x) - before).max() <= 1e-6 * np.abs(before).max()
    quantize_biases(graph)
    assert [one.op_type for one in fused(graph, tmp_path)] == ["QuantizeLinear", "QGemm"]


@pytest.mark.parametrize("graph", [network(rank=3), network(bias=(3, 5)), network(bias=(1, 1, 5))])
def test_others_stay(graph: gs.Graph) -> None:
    assert use_gemm(graph) == 0
    assert ops(graph)["MatMul"] == 1


def test_a_product_that_others_read_stays() -> None:
    graph = network()
    graph.outputs.append(graph.tensors()["product"])
    assert use_gemm(graph) == 0
