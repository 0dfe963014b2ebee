"""Tests of onnxcomp.training.clip."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.training.clip import RUN, clip_norm, norm

SHAPES = {"weight": (7, 5, 3, 3), "bias": (7,), "scale": (), "large": (3, RUN - 1)}


def gradients(size=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return {name: np.array(size * rng.normal(size=shape), np.float32) for name, shape in SHAPES.items()}


def exact_norm(values):
    return math.sqrt(sum(float(np.sum(v.astype(np.float64) ** 2)) for v in values.values()))


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-22, 1e-36, 1e25])
def test_norm_in_and_beyond_float32_s_range_of_squares(size):
    values = gradients(size)
    # float32 rounds at 6e-8, and the errors of a run's sum cancel.
    assert norm(values) == pytest.approx(exact_norm(values), rel=2e-7)


def test_norm_of_a_hand_s_example():
    assert norm({"a": np.array([[3.0]], np.float32), "b": np.array([0.0, 4.0], np.float32)}) == 5.0
    assert norm({"a": np.zeros(3, np.float32)}) == 0.0


def test_gradients_are_scaled_to_the_limit_in_place():
    values = gradients()
    before = {name: array.copy() for name, array in values.items()}
    arrays = dict(values)
    found = clip_norm(values, 2.5)
    assert found == pytest.approx(exact_norm(before), rel=1e-7)
    assert exact_norm(values) == pytest.approx(2.5, rel=1e-6)
    for name, array in values.items():
        assert array is arrays[name]
        # Two roundings of float32.
        np.testing.assert_allclose(array, before[name] * (2.5 / (found + 1e-6)), rtol=2e-7)


def test_gradients_within_the_limit_keep_their_bits():
    values, before = gradients(), gradients()
    clip_norm(values, 1e4)
    assert all(values[name].tobytes() == before[name].tobytes() for name in SHAPES)


def test_a_norm_that_is_known_is_not_computed_again():
    values = {"a": np.array([4.0, 8.0], np.float32)}
    assert clip_norm(values, 1.0, size=4.0) == 4.0
    np.testing.assert_allclose(values["a"], [1, 2], rtol=1e-6)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_norm_that_is_no_number_is_refused_before_anything_changes(broken):
    values = gradients()
    values["bias"][3] = broken
    before = {name: array.tobytes() for name, array in values.items()}
    with pytest.raises(TrainingError, match=f"train: the norm of the gradients is {broken}; lower --lr"):
        clip_norm(values, 1.0)
    assert {name: array.tobytes() for name, array in values.items()} == before


@pytest.mark.parametrize("limit", [0.0, -1.0, math.inf, math.nan])
def test_limits_out_of_range(limit):
    with pytest.raises(TrainingError, match=r"--clip: .* is out of range; give a number above 0"):
        clip_norm(gradients(), limit)


@pytest.mark.parametrize("limit", [0.1, 5.0, 1e4])
def test_agrees_with_torch(limit):
    torch = pytest.importorskip("torch")
    ours = gradients()
    parameters = {name: torch.nn.Parameter(torch.zeros(array.shape)) for name, array in ours.items()}
    for name, parameter in parameters.items():
        parameter.grad = torch.from_numpy(ours[name].copy())
    expected = float(torch.nn.utils.clip_grad_norm_(list(parameters.values()), limit))
    assert clip_norm(ours, limit) == pytest.approx(expected, rel=1e-6)
    for name, parameter in parameters.items():
        np.testing.assert_allclose(ours[name], parameter.grad.numpy(), rtol=1e-6)
