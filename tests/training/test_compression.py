"""Tests of onnxcomp.training.compression."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.prune import Prune
from onnxcomp.recipe import Recipe
from onnxcomp.training.compression import Compression
from onnxcomp.training.pruning import Pruning
from tests.training.networks import zoo_compression

STEPS = 40
PRUNE = Prune(sparsity=0.8, end=0.5, frequency=5, keep_first=False, keep_last=False)
TEXT = str(Recipe((PRUNE,)))


def parameters(model: Model) -> dict[str, np.ndarray]:
    constants = model.constants()
    return {name: constants[name].values.copy() for name in model.roles}


def pruned(model: Model, values: dict[str, np.ndarray]) -> Compression:
    return Compression(model, values, [Pruning(model, values, PRUNE, STEPS)])


def move(values: dict[str, np.ndarray], model: Model, step: int) -> None:
    """A step of training: every weight moves, pruned ones too."""
    rng = np.random.default_rng([3, step])
    for weight in graphs.weights(model.graph):
        array = values[weight.name]
        array += rng.normal(0, 0.05, array.shape).astype(np.float32)


@pytest.mark.parametrize("network", ["densenet", "mlp"])
def test_masks_follow_the_schedule_and_are_obeyed_after_every_step(network):
    model = zoo_compression(network, TEXT)
    values = parameters(model)
    compression = pruned(model, values)
    schedule = PRUNE.over(STEPS)
    masked = graphs.masks(model.graph)
    size = sum(values[name].size for name in masked)
    gone = {name: np.zeros(values[name].shape, bool) for name in masked}
    for step in range(STEPS):
        compression.before_step(step)
        if schedule.is_due(step):
            # Rounded to a whole number of weights; a mask never opens again.
            assert compression.sparsity == pytest.approx(schedule.sparsity(step, 0.8), abs=1 / size)
        move(values, model, step)
        compression.after_step()
        for name in masked:
            closed = values[f"{name}.mask"] == 0
            assert (values[name][closed] == 0).all()
            assert closed[gone[name]].all()
            gone[name] = closed
    assert compression.sparsity == pytest.approx(0.8, abs=1 / size)
    assert compression.mask_names == {f"{name}.mask" for name in masked}


@pytest.mark.parametrize("network", ["densenet", "mlp"])
def test_no_weight_clips_after_a_step(network):
    model = zoo_compression(network, f"{TEXT},qat")
    values = parameters(model)
    compression = pruned(model, values)
    for step in range(3):
        compression.before_step(30)
        move(values, model, step)
        compression.after_step()
    seen = 0
    for pair in graphs.quantizers(model.graph):
        if pair.weight is None:
            continue
        seen += 1
        weight, scale = values[pair.weight.name], values[pair.scale.name]
        levels = np.abs(np.moveaxis(weight, pair.axis, 0).reshape(len(scale), -1)).max(1) / scale
        # Each channel's largest weight is level 127, to the rounding of one division.
        assert ((np.abs(levels - 127) <= 127 * 2e-7) | ((levels == 0) & (scale == 1))).all()
    assert seen == len(list(graphs.weights(model.graph)))


def test_activation_scales_stay():
    model = zoo_compression("mlp", "qat")
    values = parameters(model)
    before = {
        p.scale.name: values[p.scale.name].copy() for p in graphs.quantizers(model.graph) if p.weight is None
    }
    compression = Compression(model, values)
    move(values, model, 0)
    compression.after_step()
    assert before
    assert all(np.array_equal(values[name], scale) for name, scale in before.items())


def test_twice_is_once_bit_for_bit():
    model = zoo_compression("densenet", f"{TEXT},qat")
    values = parameters(model)
    compression = pruned(model, values)
    compression.before_step(STEPS // 2)
    move(values, model, 0)
    compression.after_step()
    once = {name: array.tobytes() for name, array in values.items()}
    compression.after_step()
    compression.restore()
    pruned(model, values)
    assert {name: array.tobytes() for name, array in values.items()} == once


def test_without_passes_nothing_changes():
    model = zoo_compression("mlp")
    values = parameters(model)
    compression = Compression(model, values)
    compression.before_step(0)
    compression.after_step()
    assert compression.sparsity == 0.0
    assert all(np.array_equal(array, model.constants()[name].values) for name, array in values.items())


def test_the_teacher_is_left_alone():
    model = zoo_compression("densenet", f"{TEXT},qat,distill")
    values = parameters(model)
    teacher = {name: values[name].copy() for name in values if name.startswith("teacher/")}
    compression = pruned(model, values)
    compression.before_step(STEPS // 2)
    compression.after_step()
    assert all(np.array_equal(values[name], array) for name, array in teacher.items())
