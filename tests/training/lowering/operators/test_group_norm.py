from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.model import Role
from tests.training import networks
from tests.training.lowering.operators.structure import assert_taken
from tests.training.probes import check, node, probe

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 4, 3, 3))
SCALE, BIAS = RNG.uniform(0.5, 1.5, 4), RNG.standard_normal(4)


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
def test_instance(opset: int, epsilon: float) -> None:
    model = probe(node("InstanceNormalization", epsilon=epsilon), X, SCALE, BIAS, opset=opset)
    assert_taken(model, "group norm", "InstanceNormalization")
    check(model)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group(groups: int) -> None:
    """The checker refuses the operator's first form, of opsets 18 to 20."""
    write = node("GroupNormalization", num_groups=groups)
    model = probe(write, X, SCALE, BIAS, opset=21, elements=X.size)
    assert_taken(model, "group norm", "GroupNormalization")
    check(model)


def test_in_a_network() -> None:
    """The operators behind it need the shapes that inference loses there."""
    net = networks.Builder(3)
    x = networks.conv(net, "input", "first", 3, 8)
    for index in range(2):
        scale = net.constant(f"scale{index}", net.rng.uniform(0.5, 1.5, 8).astype(np.float32))
        bias = net.constant(f"bias{index}", net.small(8))
        x = net.node("GroupNormalization", [x, scale, bias], f"norm{index}", num_groups=4)
        x = networks.conv(net, net.node("Relu", [x], f"relu{index}"), f"conv{index}", 8, 8)
    x = net.node("AveragePool", [x], "pool", kernel_shape=[2, 2], strides=[2, 2])
    proto = net.model(networks.head(net, x, "fc", 8, 10), 21, ("N", 3, 8, 8), 10)
    model = networks.compression(proto)
    assert model.roles["scale0"] is model.roles["bias1"] is Role.TRAINABLE
    networks.assert_gradients(model)
