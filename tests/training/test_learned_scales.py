"""Learned scales in training: what they are moved by, and what is saved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxcomp import graphs, runtime
from onnxcomp.model import Model, Role
from onnxcomp.training import phases
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.engine import build
from onnxcomp.training.groups import Groups
from onnxcomp.training.setup import trainee_of
from onnxcomp.training.trainer import Trainer
from onnxcomp.training.weight_ranges import MOST
from tests.training import networks
from tests.training.lowering import pairs

STEPS = 4
CONFIG = TrainConfig(
    1, batch_size=networks.BATCH, lr=0.2, momentum=0, schedule="constant", warmup=0, threads=1
)


def trained(model: Model, config: TrainConfig = CONFIG, steps: int = STEPS) -> tuple[Trainer, Model]:
    trainee = trainee_of(model, config)
    ours = Trainer(phases.build(trainee, config, STEPS, 0, build), trainee, config, STEPS)
    for step in range(steps):
        ours.step(step, [networks.batch(step, model.image_shape[1])])
    return ours, trainee


@pytest.mark.parametrize("ema", [None, 0.5])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("name", ["densenet", "mobilenet"])
def test_the_files_weights_are_those_of_training_bit_for_bit(name, bits, ema) -> None:
    model = networks.zoo_compression(name, f"qat{{scales=learned weight_bits={bits}}}")
    ours, trainee = trained(model, replace(CONFIG, ema=ema, lr=1.0))  # far enough to leave the range
    saved = model.copy()
    ours.save(saved)
    live = dict(ours.parameters)
    if ema is not None:  # what was averaged, before it was brought into range
        averages = ours.state(STEPS, {}).average
        live |= {key.removeprefix("average/"): a for key, a in averages.items() if key != "updates"}
    step = pairs.run(trainee, live)
    assert step.logits.size
    found = {p.dequantize.outputs[0].name: p for p in graphs.quantizers(saved.graph) if p.weight is not None}
    images, _ = networks.batch(size=model.image_shape[1])
    session = runtime.session(saved, outputs=list(found), threads=1, optimize=False, integer=False)
    names = [entry.name for entry in session.get_outputs()]
    read = {entry.name for entry in session.get_inputs()}
    feeds = {model.image.name: images} if model.image.name in read else {}
    file = dict(zip(names, session.run(names, feeds), strict=True))
    beyond = 0
    for pair in step.pairs:
        if pair.name in found:
            assert file[pair.name].tobytes() == pair.result.reshape(file[pair.name].shape).tobytes()
            beyond += int(np.count_nonzero(np.abs(pair.levels) > pair.high + 0.5))
    assert beyond > 0


def test_scales_move_by_the_scaled_gradient_and_never_decay() -> None:
    model = networks.zoo_compression("mlp", "qat{scales=learned}")
    decaying = replace(CONFIG, lr=1e-3, weight_decay=0.5, groups=Groups(decay_vectors=True))
    (ours, _), (other, _) = trained(model, replace(CONFIG, lr=1e-3), 1), trained(model, decaying, 1)
    scales = [name for name, role in trainee_of(model, CONFIG).roles.items() if role is Role.LEARNED_SCALE]
    assert scales
    constants = model.constants()
    for name in scales:
        before = constants[name].values
        assert np.array_equal(ours.parameters[name], other.parameters[name])
        assert not np.array_equal(ours.parameters[name], before)
        step = 1e-3 * ours._global_step.gradients[name]
        moved = np.clip(before - step, before * (1 - MOST), before * (1 + MOST))
        np.testing.assert_allclose(ours.parameters[name], moved, rtol=1e-6)
    assert not np.array_equal(ours.parameters["w1"], other.parameters["w1"])


@pytest.mark.parametrize(("pattern", "moving"), [("*.scale", 0), ("w1.scale", 3)])
def test_a_pattern_of_lr_scale_finds_them(pattern: str, moving: int) -> None:
    model = networks.zoo_compression("mlp", "qat{scales=learned}")
    ours, trainee = trained(model, replace(CONFIG, groups=Groups(lr_scale=((pattern, 0.0),))))
    constants = model.constants()
    scales = [name for name, role in trainee.roles.items() if role is Role.LEARNED_SCALE]
    moved = [name for name in scales if not np.array_equal(ours.parameters[name], constants[name].values)]
    assert len(moved) == moving
    assert len(scales) == 4
