"""Tests of onnxcomp.training.metrics.scalars."""

from __future__ import annotations

import math

from onnxcomp.training.metrics.scalars import scalars


def test_numbers_come_in_groups() -> None:
    record = {
        "step": 50, "epoch": 0.5, "lr": 0.01, "loss": 0.4, "loss/task": 0.7, "accuracy": 75.0,
        "images_per_second": 60, "sparsity": 0.8,
    }  # fmt: skip
    assert scalars(record) == {
        "lr": 0.01, "loss/total": 0.4, "loss/task": 0.7, "accuracy/train": 75.0, "images_per_second": 60.0,
        "sparsity": 0.8,
    }  # fmt: skip


def test_measurements_join_the_accuracy() -> None:
    record = {"event": "epoch", "step": 9, "epoch": 1.0, "test_accuracy": 99.0, "test_accuracy_ema": 99.5}
    assert scalars(record) == {"accuracy/test": 99.0, "accuracy/test_ema": 99.5}


def test_what_is_no_number_is_left_out() -> None:
    found = scalars({"step": 1, "note": "resumed", "best": True, "parts": [1.0], "loss": math.nan})
    assert list(found) == ["loss/total"]
    assert math.isnan(found["loss/total"])
