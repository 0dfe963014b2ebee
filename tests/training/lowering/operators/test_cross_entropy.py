from __future__ import annotations

from onnxcomp.training.lowering.operators.cross_entropy import lower_loss
from tests.training import networks
from tests.training.lowering import forward


def test_the_logarithms_are_added_once() -> None:
    model = networks.zoo_compression("mlp")
    training = forward.skeleton(model)
    assert lower_loss(training.graph) == 1
    assert lower_loss(training.graph) == 0
    forward.assert_same(forward.run(training), forward.run_model(model), 0.0)
