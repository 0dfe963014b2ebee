"""Tests of onnxcomp.training.saliency."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.training.blocks import PIECE
from onnxcomp.training.flush import EVERY
from onnxcomp.training.saliency import DECAY, STEPS, Saliency

SHAPES = {"small": (3, 5), "large": (2, PIECE), "other": (7,), "scalar": ()}


def gradients(step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("statistic", [np.abs, np.square])
def test_it_is_the_running_mean_of_float64_but_for_a_factor(statistic: np.ufunc) -> None:
    ours = Saliency(statistic, SHAPES)
    expected = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    steps = 30
    for step in range(steps):
        ours.add(gradients(step), step)
        for name, gradient in gradients(step).items():
            expected[name] = DECAY * expected[name] + statistic(gradient.astype(np.float64))
    weights = DECAY ** np.arange(steps)[::-1]
    plain = np.average(
        [statistic(gradients(s)["small"].astype(np.float64)) for s in range(steps)], 0, weights
    )
    for name, values in ours.values.items():
        assert values.shape == SHAPES[name]
        # Thirty float32 operations.
        np.testing.assert_allclose(values, expected[name], rtol=1e-5)
    np.testing.assert_allclose(ours.values["small"] / weights.sum(), plain, rtol=1e-5)
    assert pytest.approx(1 / (1 - DECAY)) == STEPS


def test_a_loaded_state_continues_bit_for_bit() -> None:
    whole, first, second = (Saliency(np.square, SHAPES) for _ in range(3))
    for step in range(20):
        whole.add(gradients(step), step)
        if step < 8:
            first.add(gradients(step), step)
    for name, values in first.values.items():
        second.values[name][...] = values
    for step in range(8, 20):
        second.add(gradients(step), step)
    assert all(second.values[name].tobytes() == values.tobytes() for name, values in whole.values.items())


def test_a_weight_without_gradient_has_no_saliency_and_others_are_not_looked_at() -> None:
    ours = Saliency(np.abs, {"small": (3, 5), "absent": (2,)})
    ours.add(gradients(0), 0)
    assert not ours.values["absent"].any()
    assert ours.values["small"].all()
    assert list(ours.values) == ["small", "absent"]


def test_what_no_gradient_reaches_any_more_becomes_zero_and_never_denormal() -> None:
    ours = Saliency(np.square, {"small": (3, 5)})
    ours.add(gradients(0), 0)
    tiny = np.finfo(np.float32).tiny
    for step in range(1, 2000):
        ours.add({"small": np.zeros((3, 5), np.float32)}, step)
        values = ours.values["small"]
        assert ((values == 0) | (values >= tiny)).all()
        if not values.any():
            break
    assert not ours.values["small"].any()
    assert step % EVERY == 0
