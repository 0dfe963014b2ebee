from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.training.engine import build
from onnxcomp.training.lowering import lower
from onnxcomp.training.lowering.relu_gradient import LOWERING
from onnxcomp.training.ort.gradients import differentiate
from tests import zoo
from tests.training import networks


@pytest.mark.parametrize("name", zoo.ALL)
def test_every_gradient_of_relu_is_replaced_and_no_bit_changes(name: str) -> None:
    model = networks.zoo_compression(name, "distill")
    engines = []
    for without in ((), (LOWERING.name,)):
        engine = build(model, batch_size=networks.BATCH, threads=1, without=without)
        networks.disturb(engine, model)
        engine.step(*networks.batch())
        engines.append(engine)
    for key, gradient in engines[0].gradients.items():
        np.testing.assert_array_equal(gradient, engines[1].gradients[key], err_msg=key)


def test_none_is_left() -> None:
    training = lower(networks.zoo_compression("resnet"), 2)
    proto, _ = differentiate(training)
    ops = [node.op_type for node in proto.graph.node]
    assert "ReluGrad" not in ops
    assert ops.count("FakeQuantGrad") == ops.count("Relu") > 0
    (hit,) = [rewrite for rewrite in training.rewrites if rewrite.name == LOWERING.name]
    assert hit.nodes == ops.count("Relu")
