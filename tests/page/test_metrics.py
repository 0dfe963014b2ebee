"""What one training said of itself, whole or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxcomp.page import metrics
from onnxcomp.page.metrics import Stage


def training(folder: Path, *records: object, epochs: float = 2.0) -> metrics.Training:
    (folder / "config.json").write_text(json.dumps({"epochs": epochs, "lr": 0.1}))
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return metrics.read(folder, "run")


def step(number: int, **values: object) -> dict[str, object]:
    return {"step": number, "epoch": number / 10, "lr": 0.1, **values}


def test_series_and_the_end(tmp_path: Path) -> None:
    found = training(
        tmp_path,
        step(10, loss=1.0, accuracy=50.0, sparsity=0.4),
        {"event": "epoch", "step": 10, "epoch": 1.0, "test_accuracy": 60.0},
        step(20, loss=0.5, accuracy=70.0, sparsity=0.8),
    )
    assert found.series["loss/total"] == ((10, 1.0), (20, 0.5))
    assert found.series["accuracy/test"] == ((10, 60.0),)
    assert (found.last("sparsity"), found.last("nothing")) == (0.8, None)
    assert (found.steps, found.epochs, found.problems) == (20, 2.0, ())


def test_a_stage_begins_where_the_losses_change(tmp_path: Path) -> None:
    first, second = {"loss/hints": 1.0}, {"loss/task": 1.0, "loss/soft": 2.0}
    found = training(tmp_path, step(5, **first), step(10, **first), step(15, **second), step(20, **second))
    assert found.stages == (Stage(0, 10, ("hints",)), Stage(10, 20, ("soft", "task")))


@pytest.mark.parametrize(
    "bad", ["{", "[]", '{"step": true}', '{"step": -1}', '{"step": "9"}', '{"epoch": 1}', "[" * 99_999]
)
def test_a_damaged_line_costs_no_other(tmp_path: Path, bad: str) -> None:
    found = training(tmp_path, step(10, loss=1.0), bad, step(20, loss=0.5))
    assert len(found.series["loss/total"]) == 2
    assert found.problems == ("run: metrics.jsonl: 1 damaged line left out",)


def test_values_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    line = '{"step": 20, "epoch": 2.0, "loss": NaN, "lr": "x", "accuracy": 1' + "0" * 400 + "}"
    found = training(tmp_path, step(10, loss=1.0), line)
    assert found.series == {"loss/total": ((10, 1.0),), "lr": ((10, 0.1),)}


def test_one_that_was_stopped_says_where(tmp_path: Path) -> None:
    found = training(tmp_path, step(10, loss=1.0))
    assert found.problems == ("run: the training stopped at epoch 1.00 of 2; its metrics end there",)


def test_without_metrics_and_with_a_damaged_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    assert not metrics.is_training(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    assert metrics.is_training(tmp_path)
    found = metrics.read(tmp_path, "run")
    assert found.problems == (
        "run: config.json is damaged",
        "run: there is no metrics.jsonl: no step was logged",
    )
    assert not found.series
