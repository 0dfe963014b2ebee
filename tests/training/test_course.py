"""Tests of onnxcomp.training.course."""

from __future__ import annotations

import pytest

from onnxcomp.training.config import TrainConfig
from onnxcomp.training.course import Course


def course(epochs, every=1, **options):
    config = TrainConfig(epochs, threads=1, evaluate_every=every, checkpoint_every=3, log_every=4, **options)
    return Course(config, per_epoch=8)


@pytest.mark.parametrize(
    ("epochs", "every", "at"), [(2, 0, [16]), (2.5, 1, [8, 16, 20]), (4, 2, [16, 32]), (0.25, 1, [2])]
)
def test_the_end_is_always_measured_and_the_beginning_never(epochs, every, at):
    ours = course(epochs, every)
    assert [done for done in range(ours.steps + 1) if ours.evaluates(done)] == at


def test_a_checkpoint_comes_before_every_measurement():
    ours = course(2)
    assert [done for done in range(1, 17) if ours.saves(done)] == [3, 6, 8, 9, 12, 15, 16]


def test_the_end_is_logged():
    ours = course(1.25)
    assert [done for done in range(1, 11) if ours.logs(done)] == [4, 8, 10]
    assert ours.epoch(10) == 1.25
