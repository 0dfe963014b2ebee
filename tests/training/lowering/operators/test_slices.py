from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxcomp.training.lowering import lower
from tests.training.lowering.operators.structure import assert_taken
from tests.training.probes import check, node, probe

X = np.random.default_rng(0).standard_normal((2, 5, 4))
END = -(2**63)


@pytest.mark.parametrize("pick", [0, 1])
@pytest.mark.parametrize(
    ("opset", "sizes", "attributes"),
    [
        (13, [2, 3], {"axis": 1}),
        (21, [2, 3], {"axis": -2}),
        (18, None, {"axis": 1, "num_outputs": 2}),
        (13, None, {"axis": 2}),
    ],
)
def test_split_of_which_one_part_is_read(
    opset: int, sizes: list[int] | None, attributes: dict[str, Any], pick: int
) -> None:
    inputs = (...,) if sizes is None else (..., sizes)
    model = probe(node("Split", *inputs, outputs=2, pick=pick, **attributes), X, opset=opset)
    assert_taken(model, "partial split", "Split")
    check(model)


def test_split_of_which_all_is_read_stays() -> None:
    def write(net: Any, names: list[str]) -> str:
        node("Split", ..., [2, 3], outputs=2, axis=1)(net, names)
        whole: str = net.node("Concat", ["result1", "result0"], "whole", axis=1)
        return whole

    model = probe(write, X)
    assert any(n.op == "Split" for n in lower(model, 2).graph.nodes)
    check(model)


@pytest.mark.parametrize(
    "bounds",
    [
        ([-1], [END], [1], [-1]),
        ([4], [0], [1], [-2]),
        ([3, 0], [-6, 2], [1, 2], [-1, 1]),
        ([100], [1], [-2], [-3]),
        ([-1, -2], [END, END], [0, 2], [-1, -1]),
    ],
)
def test_slice_that_runs_backwards(bounds: tuple[list[int], ...]) -> None:
    model = probe(node("Slice", ..., *bounds), X)
    assert_taken(model, "backward slice", "Slice")
    check(model)
