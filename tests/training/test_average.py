"""Tests of onnxcomp.training.average."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from onnxcomp import graphs
from onnxcomp.errors import CheckpointError, TrainingError
from onnxcomp.model import Role
from onnxcomp.training.average import WeightAverage, averaged, settled
from onnxcomp.training.blocks import PIECE
from onnxcomp.training.compression import Compression
from tests.training.networks import zoo_compression

SHAPES = {"weight": (7, 5, 3, 3), "bias": (7,), "scale": (), "large": (3, PIECE // 2 + 1)}
STEPS = 20


def parameters():
    rng = np.random.default_rng(0)
    return {name: np.array(rng.normal(size=shape), np.float32) for name, shape in SHAPES.items()}


def move(values, step):
    rng = np.random.default_rng([1, step])
    for array in values.values():
        array += rng.normal(size=array.shape).astype(np.float32)


def run(average, values, start=0, stop=STEPS):
    for step in range(start, stop):
        move(values, step)
        average.update()


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_the_first_update_copies_and_later_ones_average(decay):
    values = parameters()
    average = WeightAverage(values, decay)
    expected: dict[str, np.ndarray] = {}
    for step in range(STEPS):
        move(values, step)
        average.update()
        for name, array in values.items():
            now = array.astype(np.float64)
            expected[name] = now if step == 0 else decay * expected[name] + (1 - decay) * now
    for name, array in average.values.items():
        assert array.shape == SHAPES[name]
        # float32 rounds at 6e-8; twenty steps add up. The largest weight is about 20.
        assert np.abs(array - expected[name]).max() <= 1e-6 * np.abs(expected[name]).max()


def test_by_hand():
    values = {"w": np.array([4.0, 8.0], np.float32)}
    average = WeightAverage(values, 0.75)
    assert average.values["w"].tolist() == [4, 8]
    values["w"][...] = (0, 16)
    average.update()
    assert average.values["w"].tolist() == [0, 16]
    values["w"][...] = (4, 0)
    average.update()
    assert average.values["w"].tolist() == [1, 12]


@pytest.mark.parametrize("decay", [0.9, 0.999])
def test_agrees_with_torch(decay):
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    values = parameters()
    network = torch.nn.Module()
    for name, array in values.items():  # two as buffers, as running statistics are
        tensor = torch.from_numpy(array.copy())
        if name in ("weight", "large"):
            network.register_parameter(name, torch.nn.Parameter(tensor))
        else:
            network.register_buffer(name, tensor)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    average = WeightAverage(values, decay)
    for step in range(STEPS):
        move(values, step)
        with torch.no_grad():
            for name, tensor in network.state_dict().items():
                tensor.copy_(torch.from_numpy(values[name]))
        average.update()
        theirs.update_parameters(network)
    for name, tensor in theirs.module.state_dict().items():
        expected = tensor.numpy()
        assert np.abs(average.values[name] - expected).max() <= 1e-6 * np.abs(expected).max()


def test_a_saved_state_continues_bit_for_bit():
    whole, split = parameters(), parameters()
    reference = WeightAverage(whole, 0.9)
    run(reference, whole)
    first = WeightAverage(split, 0.9)
    run(first, split, 0, 9)
    state = {name: array.copy() for name, array in first.state_arrays().items()}
    assert set(state) == {"updates", *(f"average/{name}" for name in SHAPES)}
    second = WeightAverage(split, 0.9)
    second.load(state)
    run(second, split, 9, STEPS)
    for name in SHAPES:
        assert reference.values[name].tobytes() == second.values[name].tobytes()


def test_a_state_of_another_network_is_refused():
    state = WeightAverage({"w": np.ones(3, np.float32)}, 0.9).state_arrays()
    with pytest.raises(CheckpointError, match=r"has no average state average/w of shape \(4,\)"):
        WeightAverage({"w": np.ones(4, np.float32)}, 0.9).load(state)


@pytest.mark.parametrize("decay", [-0.1, 1.0, math.nan])
def test_decay_out_of_range(decay):
    with pytest.raises(TrainingError, match=r"--ema: .* is out of range; give 0 to below 1"):
        WeightAverage(parameters(), decay)


def test_averages_of_what_became_0_become_0():
    """Not denormal numbers, which are slow and, rounded to nearest, stay for ever."""
    values = {"w": np.ones(8, np.float32)}
    average = WeightAverage(values, 0.5)
    average.update()
    values["w"][4:] = 0
    for _ in range(300):  # 0.5 ** 150 is below what float32 can hold
        average.update()
    assert average.values["w"].tolist() == [1] * 4 + [0] * 4


def test_an_update_allocates_nothing_of_the_size_of_a_parameter():
    values = {"w": np.ones((64, PIECE), np.float32), "b": np.ones(64, np.float32)}
    average = WeightAverage(values, 0.9)
    average.update()
    tracemalloc.start()
    try:
        average.update()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < PIECE  # bytes: a quarter of one block


@pytest.mark.parametrize("network", ["densenet", "mobilenet"])
def test_trainables_and_statistics_are_averaged(network):
    model = zoo_compression(network, "prune,qat,distill")
    constants = model.constants()
    arrays = {name: constants[name].values for name in model.roles}
    found = averaged(model, arrays)
    roles = {model.roles[name] for name in found}
    assert roles == {Role.TRAINABLE} | ({Role.STATISTIC} if network == "densenet" else set())
    assert all(found[name] is arrays[name] for name in found)
    left = {model.roles[name] for name in set(arrays) - set(found)}
    assert left == {Role.MASK, Role.SCALE, Role.TEACHER}


@pytest.mark.parametrize("network", ["densenet", "mobilenet", "mlp"])
def test_settled_averages_are_pruned_and_have_scales_of_their_own(network):
    model = zoo_compression(network, "prune{keep_first=false keep_last=false},qat")
    constants = model.constants()
    live = {name: constants[name].values.copy() for name in model.roles}
    average = WeightAverage(averaged(model, live), 0.9)
    average.update()
    compression = Compression(model, live)
    masks = {weight: mask.name for weight, mask in graphs.masks(model.graph).items()}
    rng = np.random.default_rng(0)
    for weight, mask in masks.items():  # pruned after they had been averaged
        live[mask][...] = rng.random(live[mask].shape) > 0.5
        live[weight] *= 2
    compression.after_step()
    average.update()
    before = {name: array.tobytes() for name, array in live.items()}
    remembered = {name: array.tobytes() for name, array in average.values.items()}
    values = settled(compression, live, average.values)
    assert {name: array.tobytes() for name, array in live.items()} == before
    assert {name: array.tobytes() for name, array in average.values.items()} == remembered
    assert set(values) == set(live)
    assert masks
    for weight, mask in masks.items():
        closed = live[mask] == 0
        assert average.values[weight][closed].any()
        assert not values[weight][closed].any()
        np.testing.assert_array_equal(values[weight][~closed], average.values[weight][~closed])
    for pair in graphs.quantizers(model.graph):
        if pair.weight is None:
            np.testing.assert_array_equal(values[pair.scale.name], live[pair.scale.name])
            continue
        array, scale = values[pair.weight.name], values[pair.scale.name]
        largest = np.abs(np.moveaxis(array, pair.axis, 0).reshape(len(scale), -1)).max(1)
        np.testing.assert_allclose(scale[largest > 0], largest[largest > 0] / 127, rtol=2e-7)
        assert not np.array_equal(scale, live[pair.scale.name])
