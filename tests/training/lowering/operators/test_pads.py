from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.training.lowering.operators.structure import assert_taken
from tests.training.probes import check, float32, node, probe

X = np.random.default_rng(0).standard_normal((2, 3, 4))
EVERY = [0, 1, 2, 0, 2, 1]


@pytest.mark.parametrize(
    ("opset", "mode", "inputs"),
    [
        (13, "reflect", [EVERY]),
        (18, "edge", [EVERY]),
        (13, "edge", [[0, -1, 2, 0, 2, -1]]),
        (19, "wrap", [EVERY]),
        (21, "reflect", [[1, 2], None, [-1]]),
    ],
)
def test_modes(opset: int, mode: str, inputs: list[Any]) -> None:
    model = probe(node("Pad", ..., *inputs, mode=mode), X, opset=opset)
    assert_taken(model, "padding modes", "Pad")
    check(model)


@pytest.mark.parametrize("value", [None, float32(0.5)])
@pytest.mark.parametrize(("pads", "axes"), [([1, 2], [-1]), ([1, 0, -1, 2], [2, 0])])
def test_named_axes(value: Any, pads: list[int], axes: list[int]) -> None:
    check(probe(node("Pad", ..., pads, value, axes), X, opset=18))
