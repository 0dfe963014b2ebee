from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.training.engine import build
from tests.training.lowering.operators.structure import assert_taken
from tests.training.probes import check, node, probe

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bhid,bhjd->bhij", [(2, 2, 3, 4), (2, 2, 5, 4)]),
        ("bhij, bhjd -> bihd", [(2, 2, 3, 4), (2, 2, 4, 5)]),
        ("abc,bd->adc", [(2, 3, 4), (3, 5)]),
        ("ij,jk", [(2, 3), (3, 4)]),
        ("ij,k->kij", [(2, 3), (4,)]),
        ("abc,c->ab", [(2, 3, 4), (4,)]),
    ],
)
def test_of_two(equation: str, shapes: list[tuple[int, ...]], opset: int) -> None:
    values = [RNG.standard_normal(shape) for shape in shapes]
    model = probe(node("Einsum", equation=equation), *values, opset=opset)
    assert_taken(model, "einsum", "Einsum")
    check(model)


@pytest.mark.parametrize("equation", ["abc->cb", "aab,bc->ac", "abc,cd->cd", "...ab,bc->...ac"])
def test_others_are_refused_by_name(equation: str) -> None:
    shapes = {"a": 2, "b": 2, "c": 2, "d": 2}
    terms = [[shapes[c] for c in term if c in shapes] for term in equation.split("->")[0].split(",")]
    values = [RNG.standard_normal(shape) for shape in terms]
    model = probe(node("Einsum", equation=equation), *values)
    with pytest.raises(TrainingError, match=r"node tested: its operator Einsum has no gradient"):
        build(model, batch_size=2, threads=1)
