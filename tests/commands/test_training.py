"""Tests of onnxcomp.commands.training: options become a TrainConfig."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click
import pytest
from click.testing import CliRunner

from onnxcomp.commands import options, training
from onnxcomp.errors import TrainingError
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.groups import Groups


def parsed(*words: str) -> TrainConfig:
    found: list[TrainConfig] = []

    @click.command()
    @options.threads
    @training.options
    def command(**given: Any) -> None:
        found.append(training.config(**given))

    result = CliRunner().invoke(command, ["--epochs", "2", *words])
    if isinstance(result.exception, TrainingError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return found[0]


def test_the_defaults_are_those_of_the_library() -> None:
    assert parsed() == TrainConfig(2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "--optimizer adamw --lr 0.1 --momentum 0.8 --weight-decay 0.05",
            {"optimizer": "adamw", "lr": 0.1, "momentum": 0.8, "weight_decay": 0.05},
        ),
        (
            "--no-nesterov --schedule step{gamma=0.5} --warmup 10",
            {"nesterov": False, "schedule": "step{gamma=0.5}", "warmup": 10},
        ),
        ("--no-decay a* --no-decay b --lr-scale c*=0.1", {"groups": Groups(("a*", "b"), (("c*", 0.1),))}),
        (
            "--clip 1 --label-smoothing 0.1 --ema 0.99 --accumulate 4",
            {"clip": 1, "label_smoothing": 0.1, "ema": 0.99, "accumulate": 4},
        ),
        (
            "--batch-norm frozen --augment crop,cutout --workers 3",
            {"batch_norm": "frozen", "augment": "crop,cutout", "workers": 3},
        ),
        (
            "--no-augment --keep 5 --tensorboard --threads 1",
            {"augment": "none", "keep": 5, "tensorboard": True, "threads": 1},
        ),
        ("--batch-size 4 --seed 3 --evaluate-every 2", {"batch_size": 4, "seed": 3, "evaluate_every": 2}),
        ("--checkpoint-every 9 --log-every 7", {"checkpoint_every": 9, "log_every": 7}),
    ],
)
def test_every_option_arrives(words: str, expected: dict[str, Any]) -> None:
    assert parsed(*words.split()) == TrainConfig(2, **expected)


def test_every_field_has_its_option() -> None:
    @click.command()
    @options.threads
    @training.options
    def command(**given: Any) -> None:
        pass

    names = {parameter.name for parameter in command.params} | {"groups"}
    assert {field.name for field in fields(TrainConfig)} <= names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--lr-scale a", "--lr-scale: 'a' is not pattern=factor"),
        ("--lr-scale a=-1", "--lr-scale: a=-1 is out of range"),
        ("--schedule cosin", "--schedule: 'cosin' is no schedule; did you mean cosine"),
        ("--ema 1", "--ema: 1.0 is out of range"),
    ],
)
def test_what_cannot_be_is_one_line(words: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        parsed(*words.split())
