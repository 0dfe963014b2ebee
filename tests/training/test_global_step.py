"""Tests of onnxcomp.training.global_step."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import pipeline
from onnxcomp.training.global_step import GlobalStep
from onnxcomp.training.ranks import Alone
from tests.training.fake import CLASSES, SIZE, FakeEngine, linear

TRAINEE = pipeline.with_task_loss(linear())


def batch(step, size=8):
    rng = np.random.default_rng(step)
    images = rng.normal(size=(size, 3, SIZE, SIZE)).astype(np.float32)
    return images, rng.integers(0, CLASSES, size)


class Two(Alone):
    """As if a second rank had found twice of everything."""

    size = 2

    def average(self, arrays):
        for array in arrays:
            array *= 1.5


def test_one_batch_is_the_engine_s_step_with_its_own_arrays():
    engine, other = FakeEngine(TRAINEE), FakeEngine(TRAINEE)
    ours = GlobalStep(engine, Alone(), 1, [])
    assert ours.gradients is engine.gradients
    images, labels = batch(0)
    outcome = ours([(images, labels)])
    result = other.step(images, labels)
    assert outcome.losses == result.losses
    assert outcome.right == (result.logits.argmax(1) == labels).sum()
    assert outcome.images == 8
    assert np.array_equal(ours.gradients["weight"], other.gradients["weight"])


def test_accumulated_batches_are_one_large_batch():
    images, labels = batch(0, 24)
    whole = GlobalStep(FakeEngine(TRAINEE), Alone(), 1, [])
    parts = GlobalStep(FakeEngine(TRAINEE), Alone(), 3, [])
    expected = whole([(images, labels)])
    for _ in range(2):  # sums start anew at each step
        found = parts((images[i : i + 8], labels[i : i + 8]) for i in (0, 8, 16))
        assert (found.right, found.images) == (expected.right, 24)
        assert found.losses == pytest.approx(expected.losses, rel=1e-6)
        for name, gradient in whole.gradients.items():
            # float32 sums in another order.
            np.testing.assert_allclose(parts.gradients[name], gradient, rtol=1e-5, atol=1e-7)


def test_ranks_average_gradients_losses_and_statistics():
    statistic = np.ones(3, np.float32)
    engine = FakeEngine(TRAINEE)
    alone, two = GlobalStep(FakeEngine(TRAINEE), Alone(), 1, []), GlobalStep(engine, Two(), 1, [statistic])
    one, both = alone([batch(0)]), two([batch(0)])
    assert both.losses["loss"] == pytest.approx(1.5 * one.losses["loss"], rel=1e-12)
    assert both.right == round(1.5 * one.right * 2)
    assert both.images == 16
    assert np.array_equal(two.gradients["bias"], np.float32(1.5) * alone.gradients["bias"])
    assert (statistic == 1.5).all()


def test_statistics_that_stay_are_not_averaged():
    """A mean over three ranks of one value may be another one in its last bit."""
    statistic = np.ones(3, np.float32)
    step = GlobalStep(FakeEngine(TRAINEE), Two(), 1, [statistic])
    step.averages_statistics = False
    step([batch(0)])
    assert (statistic == 1).all()
