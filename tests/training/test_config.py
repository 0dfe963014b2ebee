"""Tests of onnxcomp.training.config."""

from __future__ import annotations

import json

import numpy as np
import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.groups import Groups
from onnxcomp.training.optim import SGD, AdamW
from onnxcomp.training.schedule import Cosine, OneCycle


def test_defaults_follow_the_optimizer():
    sgd, adamw = TrainConfig(1), TrainConfig(1, optimizer="adamw")
    assert (sgd.peak_lr, sgd.decay) == (0.005, 1e-4)
    assert (adamw.peak_lr, adamw.decay) == (3e-4, 0.01)
    assert TrainConfig(1, lr=0.3, weight_decay=0.0).settings()["lr"] == 0.3
    assert TrainConfig(1, weight_decay=0.0).decay == 0.0
    weights = {"w": np.ones(2, np.float32)}
    assert isinstance(sgd.make_optimizer(weights), SGD)
    assert isinstance(adamw.make_optimizer(weights), AdamW)


@pytest.mark.parametrize(("epochs", "steps"), [(2, 20), (0.5, 5), (0.01, 1)])
def test_a_fraction_of_an_epoch_is_a_number_of_steps(epochs, steps):
    assert TrainConfig(epochs).steps(10) == steps


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"epochs": 0}, "--epochs: 0"),
        ({"epochs": float("nan")}, "--epochs: nan"),
        ({"lr": -1.0}, "--lr: -1.0"),
        ({"lr": float("inf")}, "--lr: inf"),
        ({"momentum": 1.0}, "--momentum: 1.0"),
        ({"weight_decay": -0.1}, "--weight-decay: -0.1"),
        ({"warmup": 1.5}, "--warmup: 1.5"),
        ({"clip": 0.0}, "--clip: 0.0"),
        ({"clip": float("nan")}, "--clip: nan"),
        ({"label_smoothing": 1.1}, "--label-smoothing: 1.1"),
        ({"ema": 1.0}, "--ema: 1.0"),
        ({"accumulate": 0}, "--accumulate: 0"),
        ({"workers": -1}, "--workers: -1"),
        ({"keep": 0}, "--keep: 0"),
        ({"batch_norm": "freeze"}, "--batch-norm: freeze"),
        ({"seed": -1}, "--seed: -1"),
        ({"batch_size": 0}, "--batch-size: 0"),
        ({"threads": 0}, "--threads: 0"),
        ({"checkpoint_every": 0}, "--checkpoint-every: 0"),
        ({"optimizer": "adam"}, "--optimizer: adam"),
    ],
)
def test_a_value_out_of_range_is_refused(options, option):
    with pytest.raises(TrainingError, match=f"^{option} is out of range; give "):
        TrainConfig(**{"epochs": 1, **options})


def test_what_does_not_change_the_result_is_no_setting():
    other = TrainConfig(1, threads=2, checkpoint_every=7, keep=9, workers=3, tensorboard=True)
    assert TrainConfig(1, threads=1).settings() == other.settings()


@pytest.mark.parametrize(
    "options",
    [
        *({"schedule": "linear"}, {"schedule": "step{gamma=0.5}"}, {"warmup": 3}, {"clip": 1.0}),
        *({"label_smoothing": 0.1}, {"ema": 0.99}, {"accumulate": 2}, {"batch_norm": "frozen"}),
        *({"augment": "none"}, {"nesterov": False}, {"momentum": 0.8}, {"seed": 1}, {"epochs": 2}),
        *({"groups": Groups(no_decay=("a*",))}, {"groups": Groups(lr_scale=(("a*", 0.5),))}),
        *({"groups": Groups(decay_vectors=True)}, {"weight_decay": 0.0}, {"optimizer": "adamw"}),
    ],
    ids=str,
)
def test_what_changes_the_result_is_a_setting_that_json_can_hold(options):
    ours = TrainConfig(**{"epochs": 1, **options}).settings()
    assert json.loads(json.dumps(ours)) == ours
    assert ours != TrainConfig(1).settings()


def test_the_schedule_has_its_own_warm_up():
    assert TrainConfig(1, lr=0.5).make_schedule() == Cosine(peak=0.5, warmup=0.05)
    assert TrainConfig(1, schedule="onecycle").make_schedule() == OneCycle(peak=0.005)
    with pytest.raises(TrainingError, match="no schedule"):
        TrainConfig(1, schedule="cosin")


def test_the_optimizer_has_its_momentum():
    weights = {"w": np.ones((2, 2), np.float32)}
    up, down = ({"w": np.full((2, 2), value, np.float32)} for value in (1.0, -1.0))
    found = []
    for options in (
        {},
        {"nesterov": False},
        {"momentum": 0.5},
        {"optimizer": "adamw"},
        {"optimizer": "adamw", "momentum": 0.5},
    ):
        weights["w"][...] = 1
        optimizer = TrainConfig(1, lr=0.1, weight_decay=0.0, **options).make_optimizer(weights)
        for gradients in (up, up, down):
            optimizer.step(gradients, 0.1)
        found.append(float(weights["w"][0, 0]))

    # By hand from the formulas, momentum m: velocities 1, 1 + m, m + m * m - 1.
    def sgd(m, nesterov):
        velocities = (1, 1 + m, m + m * m - 1)
        moves = [g + m * v if nesterov else v for g, v in zip((1, 1, -1), velocities, strict=True)]
        return 1 - 0.1 * sum(moves)

    assert found[:3] == pytest.approx([sgd(0.9, True), sgd(0.9, False), sgd(0.5, True)], rel=1e-5)
    assert found[3] != pytest.approx(found[4], rel=1e-3)
