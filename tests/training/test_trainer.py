"""Tests of onnxcomp.training.trainer."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.trainer import Trainer
from tests.training.fake import CLASSES, PRUNE, SIZE, FakeEngine, linear

CONFIG = TrainConfig(1, batch_size=8, lr=0.1, threads=1)
STEPS = 12


def trainer(disturb=None, config=CONFIG):
    model = linear(f"{PRUNE},qat")
    return Trainer(FakeEngine(model, disturb), model, config, STEPS)


def batch(step):
    rng = np.random.default_rng(step)
    images = rng.normal(size=(8, 3, SIZE, SIZE)).astype(np.float32)
    return images, rng.integers(0, CLASSES, 8)


def test_every_step_obeys_the_masks_of_the_recipe():
    ours = trainer()
    for step in range(STEPS):
        ours.step(step, *batch(step))
        closed = ours.parameters["weight.mask"] == 0
        assert (ours.parameters["weight"][closed] == 0).all()
    assert ours.sparsity == 0.5
    assert ours.masks == {"weight.mask"}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("stop", range(1, STEPS))
def test_a_restored_state_continues_bit_for_bit(stop, optimizer):
    config = TrainConfig(1, batch_size=8, lr=0.1, optimizer=optimizer, threads=1)
    whole, first, second = (trainer(config=config) for _ in range(3))
    for step in range(STEPS):
        whole.step(step, *batch(step))
    for step in range(stop):
        first.step(step, *batch(step))
    second.restore(first.state(stop))
    assert second.sparsity == first.sparsity
    for step in range(stop, STEPS):
        second.step(step, *batch(step))
    for name, array in whole.parameters.items():
        assert array.tobytes() == second.parameters[name].tobytes(), name


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_before_the_weights_change(value):
    def disturb(step, engine):
        if step == 3:
            engine.loss = value

    ours = trainer(disturb)
    ours.step(0, *batch(0))
    ours.step(1, *batch(1))
    before = ours.parameters["weight"].copy()
    with pytest.raises(TrainingError, match=rf"the loss is {value} at step 3; lower --lr \(it is 0\.1\)"):
        ours.step(2, *batch(2))
    # The masks may have closed further before the step.
    assert np.array_equal(ours.parameters["weight"], before * ours.parameters["weight.mask"])


def test_a_state_that_is_no_number_is_not_given_away():
    def disturb(step, engine):
        engine.gradients["bias"][1] = np.inf

    ours = trainer(disturb)
    ours.step(0, *batch(0))
    with pytest.raises(TrainingError, match="bias is no longer finite at step 1; lower --lr"):
        ours.state(1)
