"""Derivatives of elementwise operators at any number, against their formulas in float64."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from onnxcomp.model import Model
from onnxcomp.training.engine import Engine, build
from tests.float64 import Float64
from tests.training import networks
from tests.training.probes import float32, node, probe

Array = np.ndarray
COUNT, SCALE = 12, 0.02


def sigmoid(x: Array) -> Array:
    return np.where(x > 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def mish(x: Array) -> Array:
    t = np.tanh(np.logaddexp(x, 0))
    return t + x * sigmoid(x) * (1 - t**2)


def gelu(x: Array) -> Array:
    c = math.sqrt(2 / math.pi)
    t = np.tanh(c * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * c * (1 + 3 * 0.044715 * x**2)


def below(x: Array, width: float = 1.0) -> Array:
    return np.exp(np.minimum(x, 0) / width)


ALPHA, GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
CASES: dict[str, tuple[int, dict[str, Any], Callable[[Array], Array]]] = {
    "Elu": (17, {"alpha": 0.7}, lambda x: np.where(x > 0, 1, 0.7 * below(x))),
    "Selu": (17, {}, lambda x: GAMMA * np.where(x > 0, 1, ALPHA * below(x))),
    "Celu": (17, {"alpha": 0.5}, lambda x: np.where(x > 0, 1, below(x, 0.5))),
    "HardSigmoid": (17, {}, lambda x: np.where(np.abs(x) <= 2.5, 0.2, 0)),
    "HardSwish": (17, {}, lambda x: np.where(x < -3, 0, np.where(x > 3, 1, x / 3 + 0.5))),
    "Softplus": (17, {}, sigmoid),
    "Softsign": (17, {}, lambda x: 1 / (1 + np.abs(x)) ** 2),
    "Mish": (18, {}, mish),
    "Gelu": (20, {"approximate": "tanh"}, gelu),
    "Round": (17, {}, np.ones_like),
    "PRelu": (17, {}, lambda x: np.where(x > 0, 1, 0.25)),
    "Relu": (17, {}, lambda x: np.where(x > 0, 1, 0)),
    "LeakyRelu": (17, {"alpha": 0.2}, lambda x: np.where(x > 0, 1, 0.2)),
    "Sigmoid": (17, {}, lambda x: sigmoid(x) * sigmoid(-x)),
    "Tanh": (17, {}, lambda x: 1 - np.tanh(x) ** 2),
}
KINKS = {"HardSigmoid": 2.5, "HardSwish": 3.0}
VALUES = st.one_of(
    st.floats(-100, 100, width=32), st.sampled_from([0.0, -0.0, 1e-20, -1e-20, 0.5, 100, -100])
)


@functools.cache
def built(op: str) -> tuple[Model, Engine]:
    opset, attributes, _ = CASES[op]
    slope = (..., float32(0.25).reshape(1)) if op == "PRelu" else ()
    model = probe(node(op, *slope, **attributes), np.zeros(COUNT), opset=opset, scale=SCALE)
    return model, build(model, batch_size=networks.BATCH, threads=1)


@pytest.mark.parametrize("op", CASES)
@settings(max_examples=40)
@given(arrays(np.float32, COUNT, elements=VALUES))
def test_derivative(op: str, x: Array) -> None:
    model, engine = built(op)
    engine.parameters["p0"][...] = x
    images, labels = networks.batch()
    result = engine.step(images, labels)
    reference = Float64(model, images, labels)
    (logits,) = reference({"p0": x}, [model.logits.name])
    np.testing.assert_allclose(result.logits, logits, rtol=1e-5, atol=1e-5)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    probabilities[np.arange(len(labels)), labels] -= 1
    above = (probabilities.mean(0) @ model.constants()["matrix"].values.T.astype(np.float64)).reshape(-1)
    wide = x.astype(np.float64)
    smooth = np.abs(np.abs(wide) - KINKS.get(op, -1.0)) > 1e-5
    expected = above * CASES[op][2](wide)
    error = np.abs(engine.gradients["p0"] - expected)[smooth]
    assert (error <= 2e-5 * np.abs(above).max()).all()
