from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.model import Role
from onnxcomp.training.engine import build
from onnxcomp.training.lowering import lower
from onnxcomp.training.lowering.integer_kernels import LOWERING
from onnxcomp.training.ort.gradients import differentiate
from tests.training import networks


@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet"])
def test_every_fake_quant_is_replaced(name: str) -> None:
    model = networks.zoo_compression(name, "prune,qat,distill")
    proto, _ = differentiate(lower(model, 2))
    ops = [node.op_type for node in proto.graph.node]
    assert "FakeQuant" not in ops
    pairs = sum(node.op == "QuantizeLinear" for node in model.graph.nodes)
    assert ops.count("QuantizeLinear") == ops.count("DequantizeLinear") == pairs > 0


@pytest.mark.parametrize("name", ["densenet", "mlp"])
def test_the_same_numbers_as_fake_quant(name: str) -> None:
    model = networks.zoo_compression(name, "qat,distill")
    engines = []
    for without in ((), (LOWERING.name,)):
        engine = build(model, batch_size=networks.BATCH, threads=1, without=without)
        networks.disturb(engine, model)
        engines.append((engine, engine.step(*networks.batch())))
    (one, first), (two, second) = engines
    assert first.losses == second.losses
    np.testing.assert_array_equal(first.logits, second.logits)
    for key, gradient in one.gradients.items():  # the product with S and the quotient by it are left out
        norm = float(np.linalg.norm(gradient))
        assert np.linalg.norm(gradient - two.gradients[key]) <= 1e-5 * max(norm, 1e-6), key


def test_no_gradient_beyond_the_range() -> None:
    model = networks.zoo_compression("densenet", "qat")
    engine = build(model, batch_size=networks.BATCH, threads=1)
    name = "features.denseblock1.denselayer1.conv2.weight"
    assert model.roles[name] is Role.TRAINABLE
    scale = engine.parameters[f"{name}.scale"]
    scale[...] /= 2
    engine.step(*networks.batch())
    levels = np.abs(engine.parameters[name] / scale.reshape(-1, 1, 1, 1))
    gradient = engine.gradients[name]
    assert (levels > 128).any()
    assert not gradient[levels > 128].any()
    assert np.count_nonzero(gradient[levels < 127]) == np.count_nonzero(levels < 127)
