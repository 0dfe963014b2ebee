"""Tests of onnxcomp.training.window."""

from __future__ import annotations

import time

from onnxcomp.training.global_step import Outcome
from onnxcomp.training.window import Window

FIRST = Outcome({"loss": 1.0, "loss/task": 0.5}, right=3, images=4, labelled=4, gradient_norm=2.0)
SECOND = Outcome({"loss": 3.0, "loss/task": 1.5}, right=3, images=4, labelled=4, gradient_norm=4.0)


def test_means_over_the_steps():
    window = Window()
    window.add(FIRST)
    window.add(SECOND)
    means = window.means()
    assert means.pop("images_per_second") > 0
    assert means == {"loss": 2.0, "loss/task": 1.0, "gradient_norm": 3.0, "accuracy": 75.0}


def test_sums_continue_another_one():
    whole, first = Window(), Window()
    whole.add(FIRST)
    first.add(FIRST)
    second = Window(first.sums)
    whole.add(SECOND)
    second.add(SECOND)
    ours, theirs = second.means(), whole.means()
    assert ours.pop("images_per_second") > 0
    del theirs["images_per_second"]
    assert ours == theirs
    assert first.sums["steps"] == 1


def test_time_spent_elsewhere_does_not_count():
    window = Window()
    time.sleep(0.2)
    window.restart_clock()
    window.add(Outcome({"loss": 1.0}, 0, 1, 1))
    # One image in well under the 0.2 s slept.
    assert window.means()["images_per_second"] > 5


def test_images_without_labels_have_no_accuracy() -> None:
    window = Window()
    window.add(Outcome({"loss": 1.0}, right=0, images=4, labelled=0))
    means = window.means()
    assert means["loss"] == 1.0
    assert "accuracy" not in means
