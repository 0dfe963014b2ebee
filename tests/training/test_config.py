"""Tests of onnxcomp.training.config."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.optim import SGD, AdamW


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
        ({"warmup": 1.0}, "--warmup: 1.0"),
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
    assert TrainConfig(1, threads=1).settings() == TrainConfig(1, threads=2, checkpoint_every=7).settings()
