from __future__ import annotations

import numpy as np
import pytest

from tests.training.lowering.operators.structure import assert_taken
from tests.training.probes import check, node, probe

RNG = np.random.default_rng(0)
TERMS = [RNG.standard_normal(shape) for shape in ((2, 3, 4), (3, 1), (4,))]


@pytest.mark.parametrize("op", ["Sum", "Mean"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_several(op: str, count: int) -> None:
    model = probe(node(op), *TERMS[:count])
    assert_taken(model, "sums", op)
    check(model)


@pytest.mark.parametrize("opset", [13, 21])
def test_the_same_tensor_twice(opset: int) -> None:
    check(probe(lambda net, names: node("Sum")(net, [*names, *names]), TERMS[0], opset=opset))
