from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import graphs
from onnxcomp.model import Model, Role
from onnxcomp.training.engine import build
from onnxcomp.training.lowering import lower
from tests.training import networks
from tests.training.lowering import forward


def frozen(passes: str = "", opset: int = 17) -> Model:
    model = networks.zoo_compression("densenet", passes, opset=opset)
    model.roles = {name: role for name, role in model.roles.items() if role is not Role.STATISTIC}
    return model


@pytest.mark.parametrize(("passes", "opset"), [("", 13), ("prune,qat,distill", 21)])
def test_scale_and_bias_and_all_before_train(passes: str, opset: int) -> None:
    model = frozen(passes, opset)
    assert "features.norm0.weight" in model.roles
    networks.assert_gradients(model)


def test_the_forward_pass_is_that_of_the_file() -> None:
    """Not so with the batch's statistics."""
    model = frozen("distill")
    training = lower(model, networks.BATCH)
    norms = [n for n in model.graph.nodes if n.op == "BatchNormalization" and graphs.is_student(n)]
    counts = {rewrite.name: rewrite.nodes for rewrite in training.rewrites}
    assert counts["running statistics"] == len(norms)
    assert counts["batch statistics"] == 0
    forward.assert_same(forward.run(training), forward.run_model(model), 1e-5)


def test_nothing_but_the_gradients_is_new_after_a_step() -> None:
    engine = build(frozen(), batch_size=networks.BATCH, threads=1)
    before = {name: values.copy() for name, values in engine.parameters.items()}
    assert not any("running" in name for name in before)
    engine.step(*networks.batch())
    for name, values in engine.parameters.items():
        np.testing.assert_array_equal(values, before[name])


def test_one_image_is_enough() -> None:
    engine = build(frozen(), batch_size=1, threads=1)
    assert np.isfinite(engine.step(*networks.batch(batch_size=1)).losses["loss"])


def test_layouts_are_still_changed() -> None:
    counts = {rewrite.name: rewrite.nodes for rewrite in lower(frozen(), networks.BATCH).rewrites}
    assert counts["channel-major"] > 15
