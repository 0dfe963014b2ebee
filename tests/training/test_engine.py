"""The engine: live arrays, statistics in place, the same bits every time, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.model import LOSS, Role, from_proto
from onnxcomp.training.engine import build
from tests import zoo
from tests.float64 import Float64
from tests.training import networks

ALL = "prune,qat{percentile=99.999},distill"
"""With scales at which no value of the batch lies so near the middle of two integers that float32 and float64
round it apart."""


def test_losses_and_logits_of_the_reference() -> None:
    model = networks.zoo_compression("densenet", ALL)
    images, labels = networks.batch()
    engine = build(model, batch_size=networks.BATCH, threads=1)
    result = engine.step(images, labels)
    assert list(result.losses) == [LOSS, "loss/task", "loss/soft_targets", "loss/boundary"]
    names = [*result.losses, model.logits.name]
    *losses, logits = Float64(model, images, labels)({}, names)
    np.testing.assert_allclose(list(result.losses.values()), losses, rtol=2e-5)
    np.testing.assert_allclose(result.logits, logits, atol=2e-5)
    total = sum(weight * result.losses[name] for name, weight in model.losses.items())
    assert result.losses[LOSS] == pytest.approx(total, rel=1e-6)


def test_running_statistics_follow_the_batch_in_place() -> None:
    model = networks.zoo_compression("densenet")
    images, labels = networks.batch()
    engine = build(model, batch_size=networks.BATCH, threads=1)
    name = "features.norm0"
    mean, variance = (engine.parameters[f"{name}.{word}"] for word in ("running_mean", "running_var"))
    before = mean.astype(np.float64), variance.astype(np.float64)
    norm = next(n for n in model.graph.nodes if n.inputs[1].name == f"{name}.weight")
    (x,) = Float64(model, images, labels)({}, [norm.inputs[0].name])
    for _ in range(2):
        engine.step(images, labels)
    for array, old, new in ((mean, before[0], x.mean((0, 2, 3))), (variance, before[1], x.var((0, 2, 3)))):
        for _ in range(2):
            old = 0.9 * old + 0.1 * new
        np.testing.assert_allclose(array, old, rtol=1e-5, atol=1e-6)
    assert mean is engine.parameters[f"{name}.running_mean"]


def test_every_statistic_of_the_student_moves_and_the_teacher_stays() -> None:
    model = networks.zoo_compression("densenet", ALL)
    engine = build(model, batch_size=networks.BATCH, threads=1)
    old = {name: values.copy() for name, values in engine.parameters.items()}
    engine.step(*networks.batch())
    moved = {name for name, values in engine.parameters.items() if (values != old[name]).any()}
    assert moved == {name for name, role in model.roles.items() if role is Role.STATISTIC}
    assert not any(name.startswith("teacher/") for name in engine.parameters)


def test_edits_in_place_are_seen_by_the_next_step() -> None:
    model = networks.zoo_compression("resnet", "prune")
    engine = build(model, batch_size=networks.BATCH, threads=1)
    batch = networks.batch()
    first = engine.step(*batch).losses[LOSS]
    mask = next(name for name, role in model.roles.items() if role is Role.MASK)
    engine.parameters[mask][...] = 0
    masked = engine.step(*batch).losses[LOSS]
    assert masked != first
    engine.parameters[mask][...] = 1
    assert engine.step(*batch).losses[LOSS] == first
    engine.parameters[mask.removesuffix(".mask")][...] = 0
    assert engine.step(*batch).losses[LOSS] == masked


def test_the_model_is_left_alone() -> None:
    model = networks.zoo_compression("densenet", ALL)
    values = {name: tensor.values.copy() for name, tensor in model.constants().items()}
    engine = build(model, batch_size=networks.BATCH, threads=1)
    engine.step(*networks.batch())
    for parameter in engine.parameters.values():
        parameter[...] = 7
    for name, tensor in model.constants().items():
        np.testing.assert_array_equal(tensor.values, values[name])
    assert model.batch is None


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_from_every_build(threads: int) -> None:
    model = networks.zoo_compression("densenet", ALL)
    engines = [build(model, batch_size=networks.BATCH, threads=threads) for _ in range(2)]
    for seed in range(3):
        batch = networks.batch(seed)
        one, two = (engine.step(*batch) for engine in engines)
        assert one.losses == two.losses
        np.testing.assert_array_equal(one.logits, two.logits)
        for attribute in ("parameters", "gradients"):
            for name, values in getattr(engines[0], attribute).items():
                np.testing.assert_array_equal(values, getattr(engines[1], attribute)[name], err_msg=name)


def test_a_fixed_batch_can_be_changed() -> None:
    free, fixed = (networks.compression(zoo.resnet(batch=batch, size=8)) for batch in ("N", 1))
    batch = networks.batch()
    one, two = (build(model, batch_size=networks.BATCH, threads=1).step(*batch) for model in (free, fixed))
    assert one.losses == two.losses


def test_gradients_start_at_zero_and_are_one_set_of_arrays() -> None:
    model = networks.zoo_compression("resnet")
    engine = build(model, batch_size=networks.BATCH, threads=1)
    assert not any(gradient.any() for gradient in engine.gradients.values())
    arrays = dict(engine.gradients)
    engine.step(*networks.batch())
    assert all(arrays[name] is gradient and gradient.any() for name, gradient in engine.gradients.items())


def test_wrong_labels_and_shapes_are_refused() -> None:
    engine = build(networks.zoo_compression("resnet"), batch_size=networks.BATCH, threads=1)
    images, labels = networks.batch()
    for bad in (-1, 10):
        with pytest.raises(TrainingError, match="for a network of 10 classes"):
            engine.step(images, np.full_like(labels, bad))
    with pytest.raises(TrainingError, match="do not fit"):
        engine.step(images[:2], labels[:2])


def test_a_model_without_loss_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"inference form and has no loss.*onnxcomp apply"):
        build(from_proto(zoo.resnet(size=8)), batch_size=2, threads=1)


def test_a_weight_that_is_cut_off_from_the_loss_has_no_gradient() -> None:
    net = networks.Builder(0)
    x = networks.conv(net, "input", "cut", 3, 4)
    x = net.node("Cast", [net.node("Cast", [x], "whole", to=7)], "back", to=1)
    x = networks.conv(net, x, "conv", 4, 4)
    model = networks.compression(net.model(networks.head(net, x, "fc", 4, 10), 17, ("N", 3, 8, 8), 10))
    engine = build(model, batch_size=2, threads=1)
    assert set(engine.parameters) - set(engine.gradients) == {"cut.weight"}


def test_what_is_known_of_a_teacher_fits_the_batch() -> None:
    """One row would else be taken for all images."""
    engine = build(networks.zoo_compression("resnet", "distill"), batch_size=networks.BATCH, threads=1)
    batch = networks.batch()
    engine.step(*batch)
    hidden = {name: array.copy() for name, array in engine.hidden.items()}
    name = next(iter(hidden))
    for bad in ({**hidden, name: hidden[name][:1]}, {n: a for n, a in hidden.items() if n != name}):
        with pytest.raises(TrainingError, match=f"the teacher's {name} is"):
            engine.step(*batch, bad)
    engine.step(*batch, {**hidden, "other": hidden[name][:1]})
