"""Hints against the paper's formula, and their gradient."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp.passes.distill import losses
from tests.passes.distill.losses import formulas
from tests.passes.distill.losses.building import OPSETS, assert_formula, value


def build(g: gs.Graph, x: list[gs.Variable]) -> gs.Variable:
    return losses.hints(g, [(x[0], x[1])])


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("shape", [(1, 3, 5, 3), (3, 7), (2, 7, 1, 1)])
def test_value_and_gradient(opset: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for _ in range(2)]
    assert_formula(build, formulas.hints, opset, *arrays)


def test_equals_have_none() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
    assert value(build, 17, x, x) == 0


def test_pairs_count_alike_whatever_their_size() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((2, 3, 5, 3)).astype(np.float32) for _ in range(2))
    c, d = (rng.standard_normal((2, 7)).astype(np.float32) for _ in range(2))
    found = value(lambda g, x: losses.hints(g, [(x[0], x[1]), (x[2], x[3])]), 17, a, b, c, d)
    assert found == pytest.approx(float(formulas.hints(a, b) + formulas.hints(c, d)) / 2, rel=1e-5)
