"""Tests of onnxcomp.training.trainer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxcomp import graphs
from onnxcomp.errors import CheckpointError
from onnxcomp.passes.qat.scales import weight_scale
from onnxcomp.training import checkpoint, clip
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.engine import build
from onnxcomp.training.identity import Identity
from onnxcomp.training.optim import Optimizer
from onnxcomp.training.trainer import DivergedError, Trainer, result_of
from tests.training import networks
from tests.training.fake import CLASSES, PRUNE, SIZE, FakeEngine, linear

CONFIG = TrainConfig(1, batch_size=8, lr=0.1, threads=1)
STEPS = 12


def trainer(disturb=None, config=CONFIG, prune=PRUNE):
    model = linear(f"{prune},qat")
    return Trainer(FakeEngine(model, disturb), model, config, STEPS)


def batch(step):
    rng = np.random.default_rng(step)
    images = rng.normal(size=(8, 3, SIZE, SIZE)).astype(np.float32)
    return images, rng.integers(0, CLASSES, 8)


def test_every_step_obeys_the_masks_of_the_recipe():
    ours = trainer()
    for step in range(STEPS):
        ours.step(step, [batch(step)])
        closed = ours.parameters["weight.mask"] == 0
        assert (ours.parameters["weight"][closed] == 0).all()
    assert ours.sparsity == 0.5
    assert ours.state(STEPS, {}).parameters["weight.mask"].dtype == np.bool_


EVERYTHING = {"schedule": "onecycle", "ema": 0.8, "clip": 0.5, "optimizer": "adamw"}


@pytest.mark.parametrize("options", [{}, {"optimizer": "adamw"}, EVERYTHING], ids=str)
@pytest.mark.parametrize("stop", range(1, STEPS))
def test_a_restored_state_continues_bit_for_bit(stop, options):
    config = replace(CONFIG, **options)
    whole, first, second = (trainer(config=config) for _ in range(3))
    for step in range(STEPS):
        whole.step(step, [batch(step)])
    for step in range(stop):
        first.step(step, [batch(step)])
    second.restore(first.state(stop, {}))
    assert second.sparsity == first.sparsity
    for step in range(stop, STEPS):
        second.step(step, [batch(step)])
    for name, array in whole.parameters.items():
        assert array.tobytes() == second.parameters[name].tobytes(), name
    assert weights_of(whole) == weights_of(second)


@pytest.mark.parametrize("criterion", ["taylor", "obd"])
@pytest.mark.parametrize("stop", range(1, STEPS))
def test_what_is_known_of_the_gradients_is_restored_bit_for_bit(tmp_path, stop, criterion):
    """Through the file, before, within and after the schedule; clipping does not touch what is known."""
    prune = PRUNE.replace("{", f"{{criterion={criterion} begin=0.2 end=0.6 ")
    config = replace(CONFIG, clip=1e-3)
    whole, first, second = (trainer(config=config, prune=prune) for _ in range(3))
    masks = []
    for step in range(STEPS):
        whole.step(step, [batch(step)])
        masks.append(whole.parameters["weight.mask"].tobytes())
    for step in range(stop):
        first.step(step, [batch(step)])
    checkpoint.save(tmp_path / "c", first.state(stop, {}), Identity("", {}))
    saved, _ = checkpoint.load(tmp_path / "c")
    assert list(saved.saliency) == (["weight"] if stop <= 0.6 * STEPS else [])
    second.restore(saved)
    for step in range(stop, STEPS):
        second.step(step, [batch(step)])
        assert second.parameters["weight.mask"].tobytes() == masks[step]
    for name, array in whole.parameters.items():
        assert array.tobytes() == second.parameters[name].tobytes(), name
    assert whole.sparsity == 0.5
    assert len(set(masks)) >= 4


def test_a_checkpoint_without_what_the_criterion_knows_is_refused():
    prune = PRUNE.replace("{", "{criterion=obd ")
    ours = trainer(prune=prune)
    ours.step(0, [batch(0)])
    with pytest.raises(CheckpointError, match=r"has no saliency state weight of shape \(3, 48\)"):
        trainer(prune=prune).restore(replace(ours.state(1, {}), saliency={}))


def weights_of(ours):
    model = linear(f"{PRUNE},qat")
    ours.save(model)
    return {name: constant.values.tobytes() for name, constant in model.constants().items()}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_before_the_weights_change(value):
    def disturb(step, engine):
        if step == 3:
            engine.loss = value

    ours = trainer(disturb)
    ours.step(0, [batch(0)])
    ours.step(1, [batch(1)])
    before = ours.parameters["weight"].copy()
    message = rf"the loss is {value} at step 3 \(learning rate [\d.]+, loss/task {value}\)"
    with pytest.raises(DivergedError, match=message):
        ours.step(2, [batch(2)])
    # The masks may have closed further before the step.
    assert np.array_equal(ours.parameters["weight"], before * ours.parameters["weight.mask"])


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_gradient_that_is_no_number_stops_before_the_weights_change(value, clip):
    def disturb(step, engine):
        engine.gradients["bias"][1] = value

    ours = trainer(disturb, replace(CONFIG, clip=clip))
    before = ours.parameters["weight"].copy()
    with pytest.raises(DivergedError, match=r"the gradient of bias is not finite at step 1 \(learning rate"):
        ours.step(0, [batch(0)])
    assert np.array_equal(ours.parameters["weight"], before * ours.parameters["weight.mask"])


def test_a_state_that_is_no_number_is_not_given_away():
    ours = trainer()
    ours.step(0, [batch(0)])
    ours.parameters["bias"][1] = np.inf
    with pytest.raises(DivergedError, match="bias is no longer finite at step 1"):
        ours.state(1, {})


def test_clipping_bounds_the_norm_and_says_what_it_was():
    plain, clipped = trainer(), trainer(config=replace(CONFIG, clip=1e-3))
    before = plain.step(0, [batch(0)]).gradient_norm
    assert clipped.step(0, [batch(0)]).gradient_norm == before > 1e-3
    moved = np.abs(clipped.parameters["bias"] - linear().constants()["bias"].values).max()
    # With Nesterov momentum a step is at most lr * 1.9 * norm long.
    assert 0 < moved <= 1.9 * 1e-3 * clipped.lr(0) * (1 + 1e-3)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_norm_is_a_sum_in_the_same_order_in_every_process(monkeypatch, reverse):
    """The names come as a set, whose order is another in every process: so would be the last bit."""
    orders = []
    names = sorted(["weight", "bias"], reverse=reverse)
    monkeypatch.setattr(Optimizer, "names", names)

    def norm(gradients):
        orders.append(list(gradients))
        return 1.0

    monkeypatch.setattr(clip, "norm", norm)
    trainer().step(0, [batch(0)])
    assert orders == [["weight", "bias"]]


def test_the_average_is_what_is_saved_with_masks_and_scales_of_its_own():
    ours = trainer(config=replace(CONFIG, ema=0.9))
    seen = []
    for step in range(STEPS):
        ours.step(step, [batch(step)])
        seen.append(ours.parameters["weight"].copy())
    average = seen[0].astype(np.float64)
    for weight in seen[1:]:
        average = 0.9 * average + 0.1 * weight
    model = linear(f"{PRUNE},qat")
    ours.save(model)
    saved = {name: constant.values for name, constant in model.constants().items()}
    mask = saved["weight.mask"]
    assert np.array_equal(mask, ours.parameters["weight.mask"])
    assert (saved["weight"][mask == 0] == 0).all()
    assert (seen[-1] != saved["weight"]).any()
    np.testing.assert_allclose(saved["weight"], average * mask, rtol=1e-5, atol=1e-7)
    (pair,) = (pair for pair in graphs.quantizers(model.graph) if pair.weight is not None)
    expected = weight_scale(saved["weight"], pair.axis)
    assert np.array_equal(saved[pair.scale.name], expected)
    values = result_of(ours.state(STEPS, {}), linear(f"{PRUNE},qat"), replace(CONFIG, ema=0.9), STEPS)
    assert all(values[name].tobytes() == saved[name].tobytes() for name in values if name != "weight.mask")


def test_accumulated_batches_count_as_one_step():
    images, labels = batch(0)
    one, two = trainer(), trainer(config=replace(CONFIG, accumulate=2))
    for step in range(3):
        one.step(step, [(images, labels)])
        two.step(step, [(images[:4], labels[:4]), (images[4:], labels[4:])])
    # float32 sums in another order.
    np.testing.assert_allclose(one.parameters["weight"], two.parameters["weight"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["densenet", "resnet"])
def test_the_promise_of_projected_weights_changes_no_bit(name: str) -> None:
    """Masks close and scales follow the weights while it trains."""
    passes = "prune{sparsity=0.8 begin=0 end=1 frequency=2},qat,distill"
    model = networks.zoo_compression(name, passes)
    weights = []
    for projected in (True, False):
        engine = build(model, batch_size=networks.BATCH, threads=1, projected=projected)
        moved = Trainer(engine, model, TrainConfig(epochs=1, lr=0.05, threads=1), 8)
        for step in range(8):
            moved.step(step, [networks.batch(step)])
        assert moved.sparsity > 0.5
        weights.append({key: array.copy() for key, array in engine.parameters.items()})
    for key, array in weights[0].items():
        np.testing.assert_array_equal(array, weights[1][key], err_msg=key)
