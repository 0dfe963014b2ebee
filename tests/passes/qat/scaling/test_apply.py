"""BatchNormalization takes factors up exactly, epsilon included."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.model import Model
from onnxcomp.passes.qat.scaling import find, scale
from tests import run
from tests.builder import Builder, batch_norm, conv
from tests.passes.channels.small import classifier


def network(variance: float) -> Model:
    def write(net: Builder, x: str) -> str:
        x = net.node("Relu", [conv(net, x, "a", 3, 4)], "read")
        return net.node("Relu", [batch_norm(net, x, "norm", 4)], "made")

    model = classifier(write, 4)
    constant = model.constants()["norm.running_var"]
    constant.values = np.full_like(constant.values, variance)
    return model


@pytest.mark.parametrize("variance", [0.0, 1e-8, 1e-5, 1.0, 1e4])
def test_any_variance(variance: float) -> None:
    model = network(variance)
    after = model.copy()
    scaling = find(after.graph)
    scale(scaling, 2 ** np.random.default_rng(0).uniform(-8, 8, scaling.size))
    images = run.images(model, 8)
    before = run.logits(model, images)
    # A few float32 roundings, relative to the largest logit.
    np.testing.assert_allclose(run.logits(after, images), before, rtol=0, atol=2e-6 * np.abs(before).max())


def test_statistics_stay_those_of_what_is_read() -> None:
    model = network(2.0)
    after = model.copy()
    scaling = find(after.graph)
    factors = np.ones(scaling.size)
    norm = scaling.norms[0]
    factors[norm.reads] = [1, 2, 3, 4]
    scale(scaling, factors)
    old, new = ({n: c.values for n, c in m.constants().items()} for m in (model, after))
    # Exact up to one float32 rounding.
    mean, variance = "norm.running_mean", "norm.running_var"
    np.testing.assert_allclose(new[mean], old[mean] * [1, 2, 3, 4], rtol=1e-6)
    np.testing.assert_allclose(new[variance], old[variance] * [1, 4, 9, 16], rtol=1e-6)
    np.testing.assert_array_equal(new["norm.bias"], old["norm.bias"])


def test_factors_of_one_change_nothing() -> None:
    model = network(0.3)
    after = model.copy()
    scaling = find(after.graph)
    scale(scaling, np.ones(scaling.size))
    for name, constant in model.constants().items():
        np.testing.assert_array_equal(after.constants()[name].values, constant.values)


def test_values_of_the_original_are_not_written_into() -> None:
    model = network(0.3)
    before = {name: constant.values.copy() for name, constant in model.constants().items()}
    after = model.copy()
    scale(find(after.graph), np.full(find(after.graph).size, 2.0))
    for name, constant in model.constants().items():
        np.testing.assert_array_equal(constant.values, before[name])
