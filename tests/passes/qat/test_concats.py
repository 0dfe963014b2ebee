"""The form of Concats that is chosen by measurement."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import model as models
from onnxcomp import pipeline
from onnxcomp import recipe as recipes
from onnxcomp.pipeline import Step
from tests import run, zoo


def chosen(model: models.Model) -> tuple[str, ...]:
    steps: list[Step] = []
    recipe = recipes.parse("qat{concat=measured}")
    pipeline.apply(model, recipe, calibration=run.Observed(), report=steps.append)
    return tuple(note for note in steps[0].change.notes if note.startswith("concat="))


def test_the_fastest_form_within_a_decibel_of_the_best() -> None:
    (note,) = chosen(models.from_proto(zoo.densenet()))
    mode, _, figures = note.removeprefix("concat=").partition(": SQNR of the logits ")
    found = {name: float(value) for name, value, _ in (part.split() for part in figures.split(", "))}
    assert list(found) == ["shared", "each", "none"]
    fast_enough = [name for name, value in found.items() if value >= max(found.values()) - 1]
    assert mode == fast_enough[0]


def test_a_wide_part_makes_the_shared_scale_too_coarse() -> None:
    model = models.from_proto(zoo.densenet())
    joined = [node for node in model.graph.nodes if node.op == "Concat"]
    weight = joined[0].inputs[1].inputs[0].inputs[1]
    weight.values = weight.values * np.float32(3000)
    (note,) = chosen(model)
    assert not note.startswith("concat=shared")


@pytest.mark.parametrize("network", ["resnet", "mlp"])
def test_nothing_is_measured_without_a_concat(network: str) -> None:
    assert chosen(models.from_proto(zoo.ALL[network]())) == ()
