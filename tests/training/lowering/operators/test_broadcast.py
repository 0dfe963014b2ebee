from __future__ import annotations

import numpy as np
import pytest

from tests.training.probes import check, float32, node, probe

RNG = np.random.default_rng(0)
CHOICE = RNG.random((2, 3, 4)) > 0.5


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize(
    ("choice", "shapes"),
    [
        (CHOICE, [(2, 3, 4), (2, 3, 4)]),
        (CHOICE[:, :, :1], [(2, 3, 4), (1, 1, 4)]),
        (CHOICE, [(3, 4), (4,)]),
        (CHOICE[0, 0], [(3, 1), (2, 1, 4)]),
    ],
)
def test_where(choice: np.ndarray, shapes: list[tuple[int, ...]], opset: int) -> None:
    check(probe(node("Where", choice, ..., ...), *(RNG.standard_normal(s) for s in shapes), opset=opset))


def test_where_with_a_number() -> None:
    check(probe(node("Where", CHOICE, ..., float32(0)), RNG.standard_normal((3, 4))))


@pytest.mark.parametrize(
    "exponent",
    [
        float32(2),
        float32(3),
        float32(0.5),
        float32(-1.5),
        float32(2, 3, 0.5),
        np.array([[2.0], [3.0]], np.float32),
        np.array(3, np.int64),
    ],
)
def test_pow(exponent: np.ndarray) -> None:
    check(probe(node("Pow", ..., exponent), RNG.uniform(0.3, 2, (1, 3))))


def test_square_of_negative_numbers_and_zero() -> None:
    for exponent in (float32(2), np.array(2, np.int64)):
        check(probe(node("Pow", ..., exponent), np.array([-1.5, 0, 2])))
