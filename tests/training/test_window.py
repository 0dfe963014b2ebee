"""Tests of onnxcomp.training.window."""

from __future__ import annotations

import time

import numpy as np

from onnxcomp.training.window import Window


def test_means_over_the_steps():
    window = Window()
    logits = np.array([[1.0, 0], [0, 1], [1, 0], [1, 0]], np.float32)
    window.add({"loss": 1.0, "loss/task": 0.5}, logits, np.array([0, 1, 1, 1]))
    window.add({"loss": 3.0, "loss/task": 1.5}, logits, np.array([0, 1, 0, 0]))
    means = window.means()
    assert means.pop("images_per_second") > 0
    assert means == {"loss": 2.0, "loss/task": 1.0, "accuracy": 75.0}


def test_time_spent_elsewhere_does_not_count():
    window = Window()
    time.sleep(0.2)
    window.restart_clock()
    window.add({"loss": 1.0}, np.zeros((1, 2), np.float32), np.zeros(1, np.int64))
    # One image in well under the 0.2 s slept.
    assert window.means()["images_per_second"] > 5
