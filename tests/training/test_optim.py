"""Tests of onnxcomp.training.optim."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from onnxcomp.errors import CheckpointError
from onnxcomp.training.optim import PIECE, SGD, AdamW, Optimizer

SHAPES = {
    "weight": (7, 5, 3, 3),
    "bias": (7,),
    "scale": (),
    "channels": (1, 7, 1, 1),
    "large": (3, PIECE // 2 + 1),
}
STEPS = 20


def parameters(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {name: np.array(rng.normal(size=shape), dtype) for name, shape in SHAPES.items()}


def gradients(step):
    rng = np.random.default_rng([1, step])
    return {name: np.array(rng.normal(size=shape), np.float32) for name, shape in SHAPES.items()}


def lr(step):
    return 0.05 / (1 + step)


def run(optimizer: Optimizer, start=0, stop=STEPS):
    for step in range(start, stop):
        optimizer.step(gradients(step), lr(step))


def is_decayed(values):
    """More than one axis is longer than 1."""
    return sum(size > 1 for size in values.shape) > 1


def sgd_float64(momentum, decay):
    weights = parameters(np.float64)
    velocity = dict.fromkeys(weights, 0.0)
    for step in range(STEPS):
        for name, gradient in gradients(step).items():
            g = gradient.astype(np.float64) + (decay * weights[name] if is_decayed(gradient) else 0)
            velocity[name] = momentum * velocity[name] + g
            weights[name] = weights[name] - lr(step) * (g + momentum * velocity[name])
    return weights


def adamw_float64(decay, one=0.9, two=0.999, eps=1e-8):
    weights = parameters(np.float64)
    first, second = (dict.fromkeys(weights, 0.0) for _ in range(2))
    for step in range(STEPS):
        for name, gradient in gradients(step).items():
            g = gradient.astype(np.float64)
            if is_decayed(gradient):
                weights[name] = weights[name] * (1 - lr(step) * decay)
            first[name] = one * first[name] + (1 - one) * g
            second[name] = two * second[name] + (1 - two) * g * g
            mean, square = first[name] / (1 - one ** (step + 1)), second[name] / (1 - two ** (step + 1))
            weights[name] = weights[name] - lr(step) * mean / (np.sqrt(square) + eps)
    return weights


def assert_close(found, expected, tolerance):
    for name, values in expected.items():
        assert np.abs(found[name] - values).max() <= tolerance * np.abs(values).max(), name


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd_follows_the_formula_in_float64(decay):
    weights = parameters()
    run(SGD(weights, momentum=0.9, weight_decay=decay))
    # float32 rounds at 6e-8; twenty steps add up.
    assert_close(weights, sgd_float64(0.9, decay), 1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw_follows_the_formula_in_float64(decay):
    weights = parameters()
    run(AdamW(weights, weight_decay=decay))
    assert_close(weights, adamw_float64(decay), 1e-6)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_agrees_with_torch(name):
    torch = pytest.importorskip("torch")
    weights = parameters()
    theirs = {key: torch.nn.Parameter(torch.from_numpy(value.copy())) for key, value in weights.items()}
    groups = [
        {"params": [p for p in theirs.values() if is_decayed(p)]},
        {"params": [p for p in theirs.values() if not is_decayed(p)], "weight_decay": 0.0},
    ]
    if name == "sgd":
        ours: Optimizer = SGD(weights, momentum=0.9, weight_decay=0.1)
        reference = torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=True, weight_decay=0.1)
    else:
        ours = AdamW(weights, weight_decay=0.1)
        reference = torch.optim.AdamW(groups, lr=1.0, weight_decay=0.1)
    for step in range(STEPS):
        ours.step(gradients(step), lr(step))
        for key, gradient in gradients(step).items():
            theirs[key].grad = torch.from_numpy(gradient)
        for group in reference.param_groups:
            group["lr"] = lr(step)
        reference.step()
    assert_close(weights, {key: value.detach().numpy() for key, value in theirs.items()}, 1e-6)


def test_vectors_and_scalars_are_not_decayed():
    weights = parameters()
    before = parameters()
    nothing = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    SGD(weights, weight_decay=0.5).step(nothing, 0.1)
    for name, shape in SHAPES.items():
        assert np.array_equal(weights[name], before[name]) == (sum(size > 1 for size in shape) <= 1)


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_a_step_allocates_nothing_of_the_size_of_a_parameter(kind):
    weights = {"w": np.ones((64, PIECE), np.float32)}
    gradient = {"w": np.ones((64, PIECE), np.float32)}
    optimizer = kind(weights)
    optimizer.step(gradient, 0.1)
    tracemalloc.start()
    try:
        optimizer.step(gradient, 0.1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < PIECE  # bytes: a quarter of one piece


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_a_saved_state_continues_bit_for_bit(kind):
    whole, split = parameters(), parameters()
    run(kind(whole))
    first = kind(split)
    run(first, 0, 9)
    second = kind(split)
    second.load({name: array.copy() for name, array in first.state_arrays().items()})
    run(second, 9, STEPS)
    for name in SHAPES:
        assert whole[name].tobytes() == split[name].tobytes()


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_a_state_of_another_network_is_refused(kind):
    state = kind({"w": np.ones(3, np.float32)}).state_arrays()
    with pytest.raises(CheckpointError, match=r"no optimiser state \w+/w of shape \(4,\)"):
        kind({"w": np.ones(4, np.float32)}).load(state)
    with pytest.raises(CheckpointError, match=r"no optimiser state \w+/v"):
        kind({"v": np.ones(3, np.float32)}).load(state)


@pytest.mark.parametrize("array", [np.ones((4, 4), np.float32)[:, ::2], np.ones(3)])
def test_only_arrays_that_can_be_updated_in_place_are_taken(array):
    with pytest.raises(ValueError, match="w must be a writable, contiguous float32 array"):
        SGD({"w": array})
