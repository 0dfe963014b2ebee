from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.model import Role
from tests.training import networks
from tests.training.lowering.operators.structure import assert_taken
from tests.training.probes import check, gradients, node, probe

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 4, 3, 3))


@pytest.mark.parametrize("opset", [13, 17, 21])
@pytest.mark.parametrize("shape", [(4, 1, 1), (1,), (1, 4, 1, 1), (4, 3, 3)])
def test_gradient_by_input_and_slope(shape: tuple[int, ...], opset: int) -> None:
    """A slope of one number is of no use as a probe's parameter; it is tested in a network."""
    if shape == (1,):
        return assert_slope_of_a_network(shape, opset)
    model = probe(node("PRelu"), X, RNG.uniform(0.1, 0.5, shape), opset=opset)
    assert_taken(model, "prelu", "PRelu")
    return check(model)


def assert_slope_of_a_network(shape: tuple[int, ...], opset: int) -> None:
    net = networks.Builder(4)
    x = networks.conv(net, "input", "first", 3, 4, bias=True)
    slope = net.constant("slope", np.full(shape, 0.25, np.float32))
    x = networks.conv(net, net.node("PRelu", [x, slope], "bent", "bent"), "second", 4, 8)
    proto = net.model(networks.head(net, x, "fc", 8, 10), opset, ("N", 3, 8, 8), 10)
    model = networks.compression(proto)
    assert model.roles["slope"] is Role.TRAINABLE
    networks.assert_gradients(model)


def test_zeros_give_the_slope() -> None:
    """As in torch; and they move no slope."""
    model = probe(node("PRelu"), np.zeros((1, 3)), np.array([0.25, 0.5, 0.0]))
    found = gradients(model)
    ones = gradients(probe(node("Neg"), np.zeros((1, 3))))["p0"]
    np.testing.assert_allclose(found["p0"], -ones * [[0.25, 0.5, 0]], rtol=1e-6)
    assert not found["p1"].any()
