"""Layouts: where the channels of a weight are, and the view a pattern gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import graphs
from onnxcomp.passes.prune.patterns import NM, Unstructured
from onnxcomp.passes.prune.plan import Group, Layout, Plan, layout


def only(op: str, shape: tuple[int, ...], *, index: int = 1, **attrs: Any) -> graphs.Weight:
    weight = gs.Constant("w", np.zeros(shape, np.float32))
    inputs = [gs.Variable("x", np.float32), weight] if index else [weight, gs.Variable("x", np.float32)]
    node = gs.Node(op, "node", attrs, inputs, [gs.Variable("y", np.float32)])
    (found,) = graphs.weights(gs.Graph([node]))
    return found


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (only("Conv", (8, 4, 3, 3)), Layout(0, 1)),
        (only("Conv", (8, 1, 3), group=8), Layout(0, 1)),
        (only("ConvTranspose", (8, 4, 3, 3)), Layout(1, 0)),
        (only("Gemm", (8, 4)), Layout(1, 0)),
        (only("Gemm", (8, 4), transB=1), Layout(0, 1)),
        (only("MatMul", (8, 4)), Layout(1, 0)),
        (only("MatMul", (3, 8, 4)), Layout(2, 1)),
        (only("MatMul", (3, 8, 4), index=0), Layout(1, 2)),
    ],
    ids=str,
)
def test_layout(weight: graphs.Weight, expected: Layout) -> None:
    assert layout(weight) == expected


def test_a_pattern_sees_outputs_and_inputs_first_in_a_view() -> None:
    values = np.zeros((3, 8, 4), np.float32)
    plan = Plan((Group(("w",), 0.5),), NM(2, 4), {"w": Layout(2, 1)})
    view = plan.facing("w", values)
    assert view.shape == (4, 8, 3)
    view[...] = 1
    assert values.all()
    assert Plan(plan.groups, Unstructured(), plan.layouts).facing("w", values) is values
    assert plan.facing("other", values).shape == (3, 8, 4)


def test_names_are_those_of_all_groups() -> None:
    assert Plan((Group(("a", "b"), 0.5), Group(("c",), 0.1)), Unstructured()).names == ("a", "b", "c")
