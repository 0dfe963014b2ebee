"""Tests of onnxcomp.training.pruning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from onnxcomp import graphs, recipe
from onnxcomp.model import Model
from onnxcomp.passes.prune import Prune
from onnxcomp.passes.prune.plan import Plan
from onnxcomp.recipe import Recipe
from onnxcomp.training.compression import Compression
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.engine import build
from onnxcomp.training.pruning import Pruning
from onnxcomp.training.saliency import DECAY, STEPS
from onnxcomp.training.trainer import Trainer
from tests import zoo
from tests.training import networks, old_masks
from tests.training.networks import zoo_compression

Values = dict[str, np.ndarray]
CRITERIA = ("magnitude", "random", "taylor", "obd")
SCHEDULES = {
    "cubic": "schedule=cubic begin=0.1 end=0.7 frequency=2",
    "one-shot": "schedule=one-shot begin=0.5",
    "iterative": "schedule=iterative end=0.7 frequency=3",
    "ramp": "schedule=ramp begin=0.2 end=0.7 frequency=2",
    "at once": "schedule=one-shot",
}
PATTERNS = {"unstructured": "sparsity=0.7", "2:4": "pattern=2:4", "4x1": "sparsity=0.6 pattern=4x1"}
RUN = 20


def parameters(model: Model) -> Values:
    constants = model.constants()
    return {name: constants[name].values.copy() for name in model.roles}


def move(values: Values, model: Model, step: int) -> None:
    """A step of training: every weight moves, pruned ones too."""
    rng = np.random.default_rng([3, step])
    for weight in graphs.weights(model.graph):
        array = values[weight.name]
        array += rng.normal(0, 0.05, array.shape).astype(np.float32)


OLD: tuple[dict[str, Any], ...] = (
    {},
    {"allocation": "uniform"},
    {"sparsity": 0.97, "initial": 0.3, "begin": 0.1, "end": 0.8, "frequency": 3},
    {"sparsity": 0.5, "begin": 0.5, "end": 0.5, "keep_first": False, "keep_last": False},
)


@pytest.mark.parametrize("options", OLD, ids=str)
@pytest.mark.parametrize("network", ["densenet", "vit"])
def test_magnitudes_on_the_cubic_schedule_close_as_they_always_did(
    network: str, options: dict[str, Any]
) -> None:
    """Bit for bit, over a whole run, on masks of ones as older versions wrote them."""
    prune = Prune(**options)
    model = zoo_compression(network, str(Recipe((prune,))))
    steps, names = 50, list(graphs.masks(model.graph))
    values = parameters(model)
    for name in names:
        values[f"{name}.mask"][...] = 1
    compression = Compression(model, values, [Pruning(model, values, prune, steps)])
    weights = {name: values[name].copy() for name in names}
    masks = {name: np.ones_like(array) for name, array in weights.items()}
    shares = old_masks.steps_and_shares(
        prune.sparsity or 0.8, prune.initial, prune.begin, prune.end, int(prune.frequency), steps
    )
    for step in range(steps):
        compression.before_step(step)
        if step in shares:
            old_masks.update(weights, masks, shares[step], prune.allocation)
        move(values, model, step)
        compression.after_step()
        for name in names:
            assert values[f"{name}.mask"].tobytes() == masks[name].tobytes(), (step, name)
            weights[name] = values[name].copy()
    assert len(shares) > (2 if prune.begin != prune.end else 1)


def pruning_of(model: Model) -> Prune:
    found = recipe.parse(model.recipe).find("prune")
    assert isinstance(found, Prune)
    return found


def gradients(values: Values, step: int) -> Values:
    rng = np.random.default_rng([4, step])
    return {name: rng.standard_normal(array.shape).astype(np.float32) for name, array in values.items()}


def assert_final(plan: Plan, values: Values) -> None:
    """The sparsity of every group within one unit, and zeros that are zeros."""
    assert plan.groups
    for group in plan.groups:
        closed = {name: values[f"{name}.mask"] == 0 for name in group.names}
        assert all(not values[name][zeros].any() for name, zeros in closed.items())
        assert all(values[name][~zeros].all() for name, zeros in closed.items())
        size, zeros = (sum(f(mask) for mask in closed.values()) for f in (np.size, np.count_nonzero))
        assert abs(zeros - group.sparsity * size) <= plan.pattern.size / 2, group
        for name in group.names:
            if plan.pattern.gone < plan.pattern.size:  # N:M, at every output and position
                groups = np.moveaxis(plan.facing(name, values[f"{name}.mask"]), 1, -1)
                kept = groups.reshape(-1, plan.pattern.size).sum(1)
                assert (kept == plan.pattern.size - plan.pattern.gone).all()


def trained(model: Model, values: Values, compression: Compression, steps: int) -> Iterator[int]:
    for step in range(steps):
        compression.before_step(step)
        compression.after_gradients(step, gradients(values, step))
        move(values, model, step)
        compression.after_step()
        yield step


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("network", ["resnet", "vit", "mlp"])
def test_every_criterion_schedule_and_pattern(
    network: str, criterion: str, schedule: str, pattern: str
) -> None:
    text = f"prune{{criterion={criterion} {SCHEDULES[schedule]} {PATTERNS[pattern]} keep_first=false}}"
    model = zoo_compression(network, text)
    prune, values = pruning_of(model), parameters(model)
    closing = Pruning(model, values, prune, RUN)
    compression = Compression(model, values, [closing])
    masks = {name: values[mask.name] for name, mask in graphs.masks(model.graph).items()}
    before = {name: mask.copy() for name, mask in masks.items()}
    end = prune.over(RUN).end
    counts = []
    for step in trained(model, values, compression, RUN):
        for name, mask in masks.items():
            assert not mask[before[name] == 0].any()
            if step > end or schedule == "at once":
                assert mask.tobytes() == before[name].tobytes()
            before[name] = mask.copy()
        counts.append(sum(int((mask == 0).sum()) for mask in masks.values()))
    assert_final(prune.plan(model), values)
    gradual = schedule in ("cubic", "iterative", "ramp")
    assert len(set(counts)) >= 4 if gradual else len(set(counts)) <= 2
    assert closing.saliency == {}


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize(("index", "network"), list(enumerate(zoo.ALL | zoo.MORE)))
def test_every_network_trains_with_it(index: int, network: str, turn: int) -> None:
    """Real gradients, the student quantised and distilled too; criteria, schedules and patterns in turn."""
    criterion, schedule = CRITERIA[turn], list(SCHEDULES.values())[(index + turn) % 4]
    pattern = list(PATTERNS.values())[(index + turn) % 3]
    text = f"prune{{criterion={criterion} {schedule} {pattern} keep_first=false}},qat,distill"
    model = zoo_compression(network, text)
    engine = build(model, batch_size=networks.BATCH, threads=1, projected=True)
    trainer = Trainer(engine, model, TrainConfig(epochs=1, lr=0.02, threads=1), 10)
    for step in range(10):
        trainer.step(step, [networks.batch(step)])
    assert_final(pruning_of(model).plan(model), dict(engine.parameters))


@pytest.mark.parametrize(("criterion", "power"), [("taylor", 1), ("obd", 2)])
def test_what_goes_is_what_the_criterion_finds_in_float64(criterion: str, power: int) -> None:
    model = zoo_compression("mlp", f"prune{{criterion={criterion} {SCHEDULES['one-shot']} keep_first=false}}")
    values = parameters(model)
    prune = pruning_of(model)
    compression = Compression(model, values, [Pruning(model, values, prune, RUN)])
    due = prune.over(RUN).begin
    means = np.zeros(values["w1"].shape)
    weight = values["w1"].copy()
    for step in trained(model, values, compression, due + 1):
        if step < due:
            weight = values["w1"].copy()
        if step >= due - STEPS:
            found = gradients(values, step)["w1"].astype(np.float64)
            means = DECAY * means + np.abs(found) ** power
    scores = np.abs(weight.astype(np.float64)) ** power * means
    closed = values["w1.mask"] == 0
    assert closed.mean() == pytest.approx(0.8, abs=1 / closed.size)
    # Float32 sums may swap neighbours.
    assert scores[closed].max() <= scores[~closed].min() * (1 + 1e-4)


@pytest.mark.parametrize("criterion", ["magnitude", "random", "taylor", "obd"])
def test_saliency_exists_while_it_is_asked_for_and_never_otherwise(criterion: str) -> None:
    text = f"prune{{criterion={criterion} begin=20 end=30 frequency=5}}"
    model = zoo_compression("mlp", text.replace("}", " keep_first=false}"))
    values = parameters(model)
    steps = 50
    closing = Pruning(model, values, pruning_of(model), steps)
    compression = Compression(model, values, [closing])
    held = [bool(closing.saliency) for _ in trained(model, values, compression, steps)]
    expected = [criterion in ("taylor", "obd") and 20 - STEPS <= step < 30 for step in range(steps)]
    assert held == expected
    for done, before in enumerate([False, *held]):
        closing.resume(done)
        assert bool(closing.saliency) == before, done


@pytest.mark.parametrize("criterion", ["magnitude", "obd", "obs"])
def test_what_apply_closed_fully_stays_as_it_is_and_asks_for_nothing(criterion: str) -> None:
    model = zoo_compression("mlp", f"prune{{criterion={criterion} schedule=one-shot keep_first=false}}")
    values = parameters(model)
    before = values["w1.mask"].copy()
    assert (before == 0).mean() == pytest.approx(0.8, abs=1e-3)
    closing = Pruning(model, values, pruning_of(model), RUN)
    for _ in trained(model, values, Compression(model, values, [closing]), 3):
        assert closing.saliency == {}
    closing.resume(1)
    assert closing.saliency == {}
    assert values["w1.mask"].tobytes() == before.tobytes()
    assert not values["w1"][before == 0].any()


@pytest.mark.parametrize("criterion", ["magnitude", "obd"])
def test_a_run_of_one_step_reaches_the_sparsity(criterion: str) -> None:
    model = zoo_compression("mlp", f"prune{{criterion={criterion} keep_first=false}}")
    values = parameters(model)
    compression = Compression(model, values, [Pruning(model, values, pruning_of(model), 1)])
    assert len(list(trained(model, values, compression, 1))) == 1
    assert compression.sparsity == pytest.approx(0.8, abs=1e-3)
