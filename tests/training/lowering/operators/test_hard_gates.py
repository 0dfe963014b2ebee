from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxcomp.training.lowering import lower
from tests.training import networks
from tests.training.lowering.operators.structure import assert_taken
from tests.training.probes import check, node, probe, slopes

X = np.random.default_rng(0).normal(0, 4, (3, 5))


@pytest.mark.parametrize(
    ("op", "opset", "attributes"),
    [
        ("HardSigmoid", 13, {}),
        ("HardSigmoid", 21, {"alpha": 0.3, "beta": 0.4}),
        ("HardSwish", 14, {}),
        ("HardSwish", 21, {}),
    ],
)
def test_gradient(op: str, opset: int, attributes: dict[str, Any]) -> None:
    model = probe(node(op, **attributes), X, opset=opset)
    assert_taken(model, "hard gates", op)
    check(model)


def test_the_layout_may_still_change_around_them() -> None:
    """Their parts have known shapes, so a region of channel-major layout does not end at them."""
    net = networks.Builder(0)
    x = networks.conv(net, "input", "first", 3, 16)
    x = net.node("AveragePool", [x], "small", kernel_shape=[4, 4], strides=[4, 4])
    for index in range(3):
        x = networks.conv(net, x, f"conv{index}", 16, 16, kernel=1)
        x = net.node("HardSwish", [x], f"active{index}", f"active{index}")
    model = networks.compression(net.model(networks.head(net, x, "fc", 16, 10), 17, ("N", 3, 8, 8), 10))
    counts = {rewrite.name: rewrite.nodes for rewrite in lower(model, networks.BATCH).rewrites}
    assert counts["channel-major"] >= 3 * (1 + 4)
    networks.assert_gradients(model)


def test_flat_parts_and_zero() -> None:
    points = np.array([-100, -4, 0, 4, 100])
    (derivative,) = slopes(node("HardSwish"), points, scale=0.02)
    np.testing.assert_allclose(derivative, [0, 0, 0.5, 1, 1], atol=1e-4)
    (derivative,) = slopes(node("HardSigmoid"), points)
    np.testing.assert_allclose(derivative, [0, 0, 0.2, 0, 0], atol=1e-6)
