"""A training in stages: which losses and learning rate when, what moves, and exact resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxcomp import model as models
from onnxcomp.errors import TrainingError
from onnxcomp.graphs import CONNECTOR_PREFIX
from onnxcomp.model import Model
from onnxcomp.training import checkpoint, engine, phases, stages
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.groups import Groups
from onnxcomp.training.identity import Identity
from onnxcomp.training.setup import trainee_of
from onnxcomp.training.stages import Stages, Stretch
from onnxcomp.training.trainer import Trainer
from tests import zoo
from tests.training import networks

STEPS = 8
CONFIG = TrainConfig(1, batch_size=networks.BATCH, lr=0.05, threads=1)
PLAN = (
    '[{"losses":{"boundary":1},"steps":0.25,"lr":0.02},{"losses":{"hints":1,"soft_targets":0.5},"steps":3},'
    '{"losses":{"task":0.1,"soft_targets":0.9}}]'
)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A DenseNet that learns from a ResNet, with connectors, masks and Q/DQ."""
    path = tmp_path_factory.mktemp("stages") / "teacher.onnx"
    models.save(models.from_proto(zoo.resnet(size=networks.SIZE)), path)
    return networks.zoo_compression(
        "densenet", f'prune{{sparsity=0.5}},qat,distill{{teacher="{path}" stages={PLAN}}}'
    )


def trainer(model: Model, config: TrainConfig = CONFIG, start: int = 0, steps: int = STEPS) -> Trainer:
    trainee = trainee_of(model, config)
    return Trainer(phases.build(trainee, config, steps, start, engine.build), trainee, config, steps)


def run(
    ours: Trainer, model: Model, start: int, stop: int, config: TrainConfig = CONFIG
) -> list[dict[str, float]]:
    found = []
    for step in range(start, stop):
        size = model.image_shape[1]
        batches = [networks.batch(10 * step + i, size) for i in range(config.accumulate)]
        found.append(ours.step(step, batches).losses)
    return found


def test_the_stretches_follow_the_recipe(student: Model) -> None:
    found = Stages.of(student, STEPS)
    boundary, hints = {"loss/boundary": 1.0}, {"loss/hints": 1.0, "loss/soft_targets": 0.5}
    assert found.stretches == (
        Stretch(0, 2, boundary, 0.02),
        Stretch(2, 5, hints),
        Stretch(5, 8, {"loss/task": 0.1, "loss/soft_targets": 0.9}),
    )
    assert [found.stretches.index(found.at(step)) for step in range(STEPS)] == [0, 0, 1, 1, 1, 2, 2, 2]
    assert [step for step in range(STEPS + 1) if found.ends(step)] == [2, 5]
    assert found.line(0) == "stage 1 of 3: boundary 1, steps 1 to 2, learning rate 0.02"
    assert stages.lines(student)[1:] == [
        "stage 2 of 3: hints 1, soft_targets 0.5, 3 steps",
        "stage 3 of 3: task 0.1, soft_targets 0.9, the rest of the steps",
    ]


def test_a_recipe_without_stages_has_one_stretch() -> None:
    for passes in ("", "prune", "distill"):
        model = networks.zoo_compression("resnet", passes)
        assert Stages.of(model, STEPS).stretches == (Stretch(0, STEPS),)
        assert stages.lines(model) == []


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_run_too_short_for_its_stages_is_refused(student: Model, steps: int) -> None:
    with pytest.raises(TrainingError, match=f"of a run of {steps}"):
        Stages.of(student, steps)


def test_each_stage_has_its_losses_and_its_schedule(student: Model) -> None:
    ours = trainer(student)
    losses = [set(found) for found in run(ours, student, 0, STEPS)]
    first, second = {"loss", "loss/boundary"}, {"loss", "loss/hints", "loss/soft_targets"}
    assert losses == [first] * 2 + [second] * 3 + [{"loss", "loss/task", "loss/soft_targets"}] * 3
    schedule = CONFIG.make_schedule()
    expected = [replace(schedule, peak=0.02).lr(step, 2) for step in range(2)]
    expected += [schedule.lr(step, 3) for step in range(3)] * 2
    assert [ours.lr(step) for step in range(STEPS)] == expected


def test_a_stage_moves_what_its_losses_depend_on(student: Model) -> None:
    ours = trainer(student)
    classifier = [name for name in ours.parameters if name.startswith("classifier")]
    connectors = {
        term: [
            n for n in ours.parameters if n.startswith(f"{CONNECTOR_PREFIX}{term}/") and n.endswith("weight")
        ]
        for term in ("boundary", "hints")
    }
    assert classifier
    assert connectors["boundary"]
    assert connectors["hints"]

    def moved(start: int, stop: int) -> set[str]:
        before = {name: array.copy() for name, array in ours.parameters.items()}
        run(ours, student, start, stop)
        return {name for name, array in ours.parameters.items() if not np.array_equal(array, before[name])}

    weight = next(name for name in classifier if name.endswith("weight"))
    first, second, third = moved(0, 2), moved(2, 5), moved(5, 8)
    assert weight not in first
    assert weight in second
    assert weight in third
    assert set(connectors["boundary"]) <= first
    assert not set(connectors["boundary"]) & (second | third)
    assert set(connectors["hints"]) <= second
    assert not set(connectors["hints"]) & (first | third)


def test_the_optimiser_begins_anew(student: Model) -> None:
    """A stage's first step is that of a run that begins with the weights it begins with."""
    ours = trainer(student)
    run(ours, student, 0, 5)
    other = trainer(student, start=5)
    for name, array in other.parameters.items():
        array[...] = ours.parameters[name]
    other._enter(5)
    run(ours, student, 5, 6)
    run(other, student, 5, 6)
    for name, array in other.parameters.items():
        np.testing.assert_array_equal(array, ours.parameters[name], err_msg=name)


@pytest.mark.parametrize(
    "settings",
    [
        {"ema": 0.8, "clip": 1.0},
        {"optimizer": "adamw", "lr": 1e-3, "accumulate": 2},
        {"schedule": "onecycle"},
    ],
)
def test_resumed_at_any_step_of_any_stage_it_is_the_same_bit_for_bit(
    tmp_path: Path, student: Model, settings: dict[str, object]
) -> None:
    config = replace(CONFIG, **settings)  # type: ignore[arg-type]
    whole = trainer(student, config)
    states = []
    for step in range(STEPS):
        run(whole, student, step, step + 1, config)
        path = tmp_path / f"{step}.safetensors"
        checkpoint.save(path, whole.state(step + 1, {}), Identity("", {}))
        states.append(path)
    for done in (1, 2, 4, 5, 6):
        saved, _ = checkpoint.load(states[done - 1])
        resumed = trainer(student, config, start=done)
        resumed.restore(saved)
        run(resumed, student, done, STEPS, config)
        for name, array in resumed.parameters.items():
            np.testing.assert_array_equal(array, whole.parameters[name], err_msg=f"{name} from {done}")
        results = [student.copy() for _ in range(2)]
        for one, result in zip((whole, resumed), results, strict=True):
            one.save(result)
        values = [{n: c.values.tobytes() for n, c in result.constants().items()} for result in results]
        assert values[0] == values[1]


def test_a_group_of_tensors_that_only_one_stage_trains(student: Model) -> None:
    """Its pattern is no mistake in the others; one that none trains is."""
    config = replace(CONFIG, groups=Groups(lr_scale=((f"{CONNECTOR_PREFIX}boundary/*", 0.0),)))
    ours = trainer(student, config)
    names = [n for n in ours.parameters if n.startswith(f"{CONNECTOR_PREFIX}boundary/") and "weight" in n]
    before = [ours.parameters[name].copy() for name in names]
    run(ours, student, 0, STEPS)
    for name, array in zip(names, before, strict=True):
        np.testing.assert_array_equal(ours.parameters[name], array)
    with pytest.raises(TrainingError, match="matches no tensor that is trained"):
        trainer(student, replace(CONFIG, groups=Groups(no_decay=("no/such/*",))))
