"""Tests of onnxcomp.training.phases: with the engine of ONNX Runtime Training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp.model import Model, Role
from onnxcomp.training import checkpoint, engine, phases
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.identity import Identity
from onnxcomp.training.phases import Phase, PhasedEngine, Phases
from onnxcomp.training.setup import trainee_of
from onnxcomp.training.trainer import Trainer, result_of
from tests.training import networks
from tests.training.lowering import forward

STEPS = 8
CONFIG = TrainConfig(1, batch_size=networks.BATCH, lr=0.05, clip=1.0, threads=1)
ALL = "begin_weights=0.25 begin_activations=0.5 freeze_bn=0.75"


def trainer(model: Model, config: TrainConfig = CONFIG, start: int = 0) -> Trainer:
    trainee = trainee_of(model, config)
    return Trainer(phases.build(trainee, config, STEPS, start, engine.build), trainee, config, STEPS)


def run(ours: Trainer, model: Model, start: int, stop: int) -> None:
    for step in range(start, stop):
        ours.step(step, [networks.batch(step, model.image_shape[1])])


def statistics(model: Model) -> list[str]:
    return [name for name, role in model.roles.items() if role is Role.STATISTIC]


def test_the_phase_is_a_function_of_the_step() -> None:
    model = networks.zoo_compression("densenet", f"qat{{{ALL}}}")
    found = [Phases.of(model, STEPS).at(step) for step in range(STEPS)]
    off, weights = Phase(weights=False, activations=False), Phase(activations=False)
    assert found == [off] * 2 + [weights] * 2 + [Phase()] * 2 + [Phase(statistics=False)] * 2


@pytest.mark.parametrize("options", ["", "scales=learned", "begin_weights=0 freeze_bn=1"])
def test_the_defaults_have_one_engine_as_ever(options: str) -> None:
    calls = []

    def build(model: Model, **given: object) -> engine.Engine:
        calls.append(given)
        return engine.build(model, **given)  # type: ignore[arg-type]

    model = networks.zoo_compression("mlp", f"qat{{{options}}}")
    built = phases.build(model, CONFIG, STEPS, 0, build)
    assert not isinstance(built, PhasedEngine)
    assert calls == [{"batch_size": networks.BATCH, "threads": 1, "projected": True}]


def test_before_its_share_a_pair_lets_values_pass() -> None:
    model = networks.zoo_compression("resnet", "qat{begin_weights=0.5 begin_activations=0.5}")
    plain = pipeline.with_task_loss(pipeline.original_of(model))
    ours = phases.build(trainee_of(model, CONFIG), CONFIG, STEPS, 0, engine.build)
    other = engine.build(plain, batch_size=networks.BATCH, threads=1)
    batch = networks.batch(size=model.image_shape[1])
    np.testing.assert_array_equal(ours.step(*batch).logits, other.step(*batch).logits)
    ours.begin(STEPS // 2)
    assert np.abs(ours.step(*batch).logits - other.step(*batch).logits).max() > 1e-3


def test_what_is_saved_before_is_the_quantised_network() -> None:
    model = networks.zoo_compression("densenet", f"qat{{{ALL}}}")
    ours = trainer(model)
    run(ours, model, 0, 1)
    saved = model.copy()
    ours.save(saved)
    assert len(list(graphs.quantizers(saved.graph))) == len(list(graphs.quantizers(model.graph)))
    for pair in graphs.quantizers(saved.graph):
        if pair.weight is not None:
            levels = pair.weight.values / graphs.along(pair.scale.values, pair.axis, pair.weight.values.ndim)
            assert np.abs(levels).max() == pytest.approx(127, rel=1e-6)
    plain = pipeline.with_task_loss(pipeline.original_of(saved))
    name = model.logits.name
    assert not np.array_equal(forward.run_model(saved)[name], forward.run_model(plain)[name])


@pytest.mark.parametrize("freeze", [0.0, 0.5])
def test_statistics_stay_from_the_share_on_and_normalise(freeze: float) -> None:
    model = networks.zoo_compression("densenet", f"qat{{freeze_bn={freeze}}}")
    ours = trainer(model)
    begin = round(freeze * STEPS)
    seen = []
    for step in range(STEPS):
        seen.append({name: ours.parameters[name].copy() for name in statistics(model)})
        run(ours, model, step, step + 1)
        after = {name: ours.parameters[name] for name in seen[-1]}
        same = [np.array_equal(seen[-1][name], after[name]) for name in after]
        assert all(same) if step >= begin else not any(same)
    saved = model.copy()
    ours.save(saved)
    images, labels = networks.batch(size=model.image_shape[1])
    built = phases.build(trainee_of(saved, CONFIG), CONFIG, STEPS, STEPS - 1, engine.build)
    expected = forward.run_model(saved)[model.logits.name]
    # A rounding error moves a value to the next step of a quantiser here and there.
    np.testing.assert_allclose(built.step(images, labels).logits, expected, rtol=0, atol=0.05)


def test_frozen_from_the_start_is_batch_norm_frozen() -> None:
    model = networks.zoo_compression("densenet", "qat")
    frozen = networks.zoo_compression("densenet", "qat{freeze_bn=0}")
    results = []
    for given, config in ((model, replace(CONFIG, batch_norm="frozen")), (frozen, CONFIG)):
        ours = trainer(given, config)
        run(ours, given, 0, 3)
        saved = given.copy()
        ours.save(saved)
        results.append({name: c.values.tobytes() for name, c in saved.constants().items()})
    assert results[0] == results[1]


CASES = [
    (f"scales=learned {ALL}", {"ema": 0.8}),
    (f"{ALL} weights=mse", {}),
    ("scales=learned freeze_bn=0.5 weight_bits=4", {"accumulate": 2, "optimizer": "adamw", "lr": 1e-3}),
]


@pytest.mark.parametrize(("options", "settings"), CASES)
def test_a_resumed_run_is_the_same_bit_for_bit_across_phases(tmp_path, options, settings) -> None:
    model = networks.zoo_compression("densenet", f"prune{{sparsity=0.5}},qat{{{options}}}")
    config = replace(CONFIG, **settings)

    def steps(ours: Trainer, start: int, stop: int) -> None:
        for step in range(start, stop):
            some = [networks.batch(10 * step + i, model.image_shape[1]) for i in range(config.accumulate)]
            ours.step(step, some)

    whole = trainer(model, config)
    for stop in range(1, STEPS):
        steps(whole, stop - 1, stop)
        path = tmp_path / f"{stop}"
        checkpoint.save(path, whole.state(stop, {}), Identity("", {}))
        saved = model.copy()
        whole.save(saved)
        found = result_of(checkpoint.load(path)[0], trainee_of(model, config), config, STEPS)
        constants = saved.constants()
        assert all(constants[name].values.tobytes() == array.tobytes() for name, array in found.items())
    steps(whole, STEPS - 1, STEPS)
    for stop in (1, 2, 3, 4, 6, 7):
        resumed = trainer(model, config, stop)
        resumed.restore(checkpoint.load(tmp_path / f"{stop}")[0])
        steps(resumed, stop, STEPS)
        for name, array in whole.parameters.items():
            assert array.tobytes() == resumed.parameters[name].tobytes(), (stop, name)


def test_the_order_of_gradients_is_that_of_every_phase() -> None:
    """Their norm is a sum in that order."""
    trainee = trainee_of(networks.zoo_compression("densenet", f"qat{{scales=learned {ALL}}}"), CONFIG)
    orders = [
        list(phases.build(trainee, CONFIG, STEPS, step, engine.build).gradients) for step in range(STEPS)
    ]
    assert all(order == orders[0] for order in orders)
    scales = {name for name, role in trainee.roles.items() if role is Role.LEARNED_SCALE}
    assert scales <= set(orders[0])
