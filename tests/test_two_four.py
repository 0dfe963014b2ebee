from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.two_four import by_channel, holds


def node(op: str, **attributes: int) -> gs.Node:
    return gs.Node(op, "node", dict(attributes))


@pytest.mark.parametrize(
    ("op", "shape", "first", "group", "expected"),
    [
        ("Conv", (6, 4, 3, 3), True, 1, (1, 6, 4, 9)),
        ("Conv", (6, 4, 3, 3), True, 2, (2, 3, 4, 9)),
        ("Conv", (6, 4, 5), True, 1, (1, 6, 4, 5)),
        ("ConvTranspose", (6, 4, 3, 3), False, 2, (2, 4, 3, 9)),
        ("Gemm", (6, 4), True, 1, (1, 6, 4, 1)),
        ("MatMul", (6, 4), False, 1, (1, 4, 6, 1)),
        ("MatMul", (2, 6, 4), True, 1, (1, 6, 4, 2)),
    ],
)
def test_channels(
    op: str, shape: tuple[int, ...], first: bool, group: int, expected: tuple[int, ...]
) -> None:
    attributes = {"group": group} if op.startswith("Conv") else {}
    found = by_channel(node(op, **attributes), np.zeros(shape), outputs_first=first)
    assert found.shape == expected


@given(
    shape=st.tuples(*[st.integers(1, 3)] * 2, st.sampled_from([2, 4, 6, 8]), st.integers(1, 3)),
    seed=st.integers(0, 99),
    share=st.sampled_from([0.3, 0.5, 0.7]),
)
def test_it_is_the_definition(shape: tuple[int, ...], seed: int, share: float) -> None:
    weight = (np.random.default_rng(seed).random(shape) < share).astype(np.float32)
    groups, outputs, inputs, positions = shape
    expected = inputs % 4 == 0 and all(
        np.count_nonzero(weight[g, o, start : start + 4, p]) <= 2
        for g in range(groups)
        for o in range(outputs)
        for p in range(positions)
        for start in range(0, inputs, 4)
    )
    assert holds(weight) is expected
