"""Tests of onnxcomp.training.channel_pruning: channels close in training, and finalize cuts them."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import graphs, runtime
from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.deploy.targets import get_target
from onnxcomp.macs import total
from onnxcomp.model import Model
from onnxcomp.passes.channels import Channels
from onnxcomp.training.channel_pruning import NAME, ChannelPruning
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.engine import build
from onnxcomp.training.saliency import DECAY
from onnxcomp.training.trainer import Trainer
from tests.training import networks
from tests.training.networks import zoo_compression

STEPS = 8
NETWORKS = [("densenet", ",qat,distill"), ("resnet", ""), ("mobilenet", "")]
CRITERIA = ("magnitude", "random", "taylor", "obd")
TOLERANCE = 1e-5  # of the largest logit: what is cut was multiplied with exactly 0


def recipe(criterion: str, more: str = "") -> str:
    return f"channels{{schedule=cubic criterion={criterion} macs=0.5 align=2 end=0.6 frequency=2}}{more}"


def trainer(model: Model) -> Trainer:
    config = TrainConfig(1, batch_size=networks.BATCH, lr=0.01, threads=1)
    engine = build(model, batch_size=networks.BATCH, threads=1, projected=True)
    return Trainer(engine, model, config, STEPS)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize(("network", "more"), NETWORKS)
def test_it_trains_with_masks_and_is_cut_in_the_end(network: str, more: str, criterion: str) -> None:
    model = zoo_compression(network, recipe(criterion, more))
    ours = trainer(model)
    shares = []
    for step in range(STEPS):
        ours.step(step, [networks.batch(step)])
        shares.append(ours.sparsity)
    assert shares == sorted(shares)
    assert shares[0] == 0 < shares[-1]
    assert shares[-1] == shares[5], "the masks are frozen after the end"
    ours.save(model)
    cut, report = finalize_report(model, get_target("ort-cpu"))
    assert report.channels > 0
    assert (total(cut.graph) or 0) <= 0.5 * model.given["macs"]
    given = model.constants()
    for weight in graphs.weights(cut.graph):
        width, before = (
            weight.tensor.shape[weight.axis],
            given[weight.name.removesuffix(".quantized")].shape[weight.axis],
        )
        assert width % 2 == 0 or width == before
    images = {model.image.name: networks.batch(99)[0]}
    masked, smaller = (
        runtime.session(m, threads=1, optimize=False).run(None, images)[0] for m in (model, cut)
    )
    tolerance = 0.05 if more else TOLERANCE  # behind Q/DQ a sum rounded otherwise may take another step
    assert np.abs(masked - smaller).max() <= tolerance * np.abs(masked).max()


@pytest.mark.parametrize("criterion", ["magnitude", "obd"])
@pytest.mark.parametrize("stop", [1, 3, 6])
def test_it_resumes_bit_for_bit(stop: int, criterion: str) -> None:
    model = zoo_compression("resnet", recipe(criterion))
    whole, first, second = (trainer(model) for _ in range(3))
    for step in range(STEPS):
        whole.step(step, [networks.batch(step)])
    for step in range(stop):
        first.step(step, [networks.batch(step)])
    second.restore(first.state(stop, {}))
    for step in range(stop, STEPS):
        second.step(step, [networks.batch(step)])
    for name, array in whole.parameters.items():
        assert array.tobytes() == second.parameters[name].tobytes(), name


def test_the_mean_of_the_gates_is_kept_while_it_is_needed() -> None:
    """A gate's derivative is the sum of w dL/dw over all that read the channel."""
    model = zoo_compression("resnet", recipe("obd"))
    constants = model.constants()
    values = {name: constants[name].values.copy() for name in model.roles}
    channels = Channels(criterion="obd", macs=0.5, align=2, schedule="cubic", end=0.6, frequency=2)
    ours = ChannelPruning(model, values, channels, STEPS)
    assert ours.saliency == {}
    rng = np.random.default_rng(0)
    gradients = {
        name: rng.normal(size=values[name].shape).astype(np.float32) for name in graphs.masks(model.graph)
    }
    wanted = np.zeros_like(ours._empty()[NAME], np.float64)
    for name, axis, numbers in ours._readers:
        others = tuple(a for a in range(values[name].ndim) if a != axis)
        sums = (values[name].astype(np.float64) * gradients[name]).sum(others)
        np.add.at(wanted, numbers[numbers >= 0], sums[numbers >= 0])  # the image's channels have none
    ours.after_gradients(0, gradients)
    np.testing.assert_allclose(ours.saliency[NAME], wanted**2 / 2, rtol=1e-3, atol=1e-6)
    ours.after_gradients(1, gradients)
    assert ours.saliency[NAME].max() > DECAY * (wanted**2 / 2).max()
    for step in range(2, 6):
        ours.after_gradients(step, gradients)
    assert ours.saliency == {}
