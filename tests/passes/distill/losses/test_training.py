"""The losses in a network: the gradient of every weight, as a training step computes it."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.training.engine import build
from tests import float64_operators, run
from tests.training import networks

OPTIONS = [
    "relations=1",
    "decoupled=0.5",
    "alpha=0 attention=5 hints=1 relations=2 decoupled=1 temperature=2",
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    ("network", "opset"), [("densenet", 17), ("mobilenet", 18), ("mlp", 13), ("vit", 21)]
)
def test_gradients_of_a_network(
    network: str, opset: int, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(float64_operators.OPERATORS, "EyeLike", lambda attrs, x: np.eye(*x.shape))
    networks.assert_gradients(networks.zoo_compression(network, f"distill{{{options}}}", opset=opset))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_step_has_the_losses_of_the_file_at_any_batch_size(count: int) -> None:
    """Of networks without BatchNormalization, whose statistics a step takes from its batch."""
    compressed = networks.zoo_compression("vit", "prune,distill{relations=1 decoupled=1}")
    rng = np.random.default_rng(0)
    for name, role in compressed.roles.items():
        if role.value == "trainable":
            constant = compressed.constants()[name]
            constant.values = (constant.values * rng.uniform(0.7, 1, constant.shape)).astype(np.float32)
    images = run.images(compressed, count)
    expected = run.outputs(compressed, images)
    engine = build(compressed, batch_size=count, threads=1)
    found = engine.step(images, np.arange(count) % compressed.num_classes).losses
    assert set(found) == {"loss", *compressed.losses}
    for name, loss in found.items():
        assert loss == pytest.approx(float(expected[name]), rel=1e-4, abs=1e-6), name
    assert (found["loss/relations"] > 0) == (count > 2)
    assert all(np.isfinite(gradient).all() for gradient in engine.gradients.values())
