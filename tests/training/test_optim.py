"""Tests of onnxcomp.training.optim."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from onnxcomp.errors import CheckpointError
from onnxcomp.training.average import WeightAverage
from onnxcomp.training.blocks import PIECE
from onnxcomp.training.clip import clip_norm
from onnxcomp.training.engine import Rewrite, StepResult
from onnxcomp.training.global_step import GlobalStep
from onnxcomp.training.groups import Groups
from onnxcomp.training.optim import SGD, AdamW, Optimizer
from onnxcomp.training.ranks import Alone
from onnxcomp.training.schedule import Schedule, parse

SHAPES = {
    "weight": (7, 5, 3, 3),
    "bias": (7,),
    "scale": (),
    "channels": (1, 7, 1, 1),
    "large": (3, PIECE // 2 + 1),
    "frozen": (4, 6),
    "slow.weight": (9, 8, 5, 5),
    "slow.bias": (9,),
}
STEPS = 20
GROUPS = Groups(lr_scale=(("slow.*", 0.1), ("frozen", 0.0)), no_decay=("large",))
FACTORS = {"slow.weight": 0.1, "slow.bias": 0.1, "frozen": 0.0}
KINDS: dict[str, Callable[..., Optimizer]] = {
    "nesterov": lambda values, **options: SGD(values, momentum=0.9, **options),
    "momentum": lambda values, **options: SGD(values, momentum=0.9, nesterov=False, **options),
    "plain": lambda values, **options: SGD(values, momentum=0.0, nesterov=False, **options),
    "adamw": AdamW,
}


def parameters(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {name: np.array(rng.normal(size=shape), dtype) for name, shape in SHAPES.items()}


def gradients(step):
    rng = np.random.default_rng([1, step])
    return {name: np.array(rng.normal(size=shape), np.float32) for name, shape in SHAPES.items()}


def lr(step):
    return 0.05 / (1 + step)


def varying(step):
    """As in one-cycle."""
    return 0.95 - 0.01 * (step % 11)


def run(optimizer: Optimizer, start=0, stop=STEPS, momentum=None):
    for step in range(start, stop):
        optimizer.step(gradients(step), lr(step), momentum(step) if momentum else None)


def factor(name, grouped):
    return FACTORS.get(name, 1.0) if grouped else 1.0


def is_decayed(name, grouped):
    """More than one axis is longer than 1."""
    return sum(size > 1 for size in SHAPES[name]) > 1 and not (grouped and name == "large")


def sgd_float64(momentum, decay, nesterov, grouped):
    weights = parameters(np.float64)
    velocity = dict.fromkeys(weights, 0.0)
    for step in range(STEPS):
        m = momentum(step)
        for name, gradient in gradients(step).items():
            rate = lr(step) * factor(name, grouped)
            g = gradient.astype(np.float64) + (decay * weights[name] if is_decayed(name, grouped) else 0)
            velocity[name] = m * velocity[name] + g
            weights[name] = weights[name] - rate * (g + m * velocity[name] if nesterov else velocity[name])
    return weights


def adamw_float64(momentum, decay, grouped, two=0.999, eps=1e-8):
    weights = parameters(np.float64)
    first, second = (dict.fromkeys(weights, 0.0) for _ in range(2))
    for step in range(STEPS):
        one = momentum(step)
        for name, gradient in gradients(step).items():
            rate = lr(step) * factor(name, grouped)
            g = gradient.astype(np.float64)
            if is_decayed(name, grouped):
                weights[name] = weights[name] * (1 - rate * decay)
            first[name] = one * first[name] + (1 - one) * g
            second[name] = two * second[name] + (1 - two) * g * g
            mean, square = first[name] / (1 - one ** (step + 1)), second[name] / (1 - two ** (step + 1))
            weights[name] = weights[name] - rate * mean / (np.sqrt(square) + eps)
    return weights


def assert_close(found, expected, tolerance):
    for name, values in expected.items():
        assert np.abs(found[name] - values).max() <= tolerance * np.abs(values).max(), name


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("cycled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_follows_the_formula_in_float64(kind, decay, grouped, cycled):
    weights = parameters()
    optimizer = KINDS[kind](weights, weight_decay=decay, groups=GROUPS if grouped else None)
    run(optimizer, momentum=varying if cycled else None)
    momentum = varying if cycled else (lambda step: 0.0 if kind == "plain" else 0.9)
    if kind == "adamw":
        expected = adamw_float64(momentum, decay, grouped)
    else:
        expected = sgd_float64(momentum, decay, kind == "nesterov", grouped)
    # float32 rounds at 6e-8; twenty steps add up.
    assert_close(weights, expected, 1e-6)


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_by_hand(nesterov):
    weights = {"w": np.array([[1.0, 2.0], [0.0, 0.0]], np.float32)}
    optimizer = SGD(weights, momentum=0.5, nesterov=nesterov, weight_decay=0.25)
    gradient = {"w": np.array([[0.75, 0.5], [0.0, 0.0]], np.float32)}
    optimizer.step(gradient, 0.5)
    # g = (0.75 + 0.25, 0.5 + 0.5) = (1, 1) = v; Nesterov moves by 0.5 (g + 0.5 v), else by 0.5 v.
    expected = [0.25, 1.25] if nesterov else [0.5, 1.5]
    assert weights["w"][0].tolist() == expected
    optimizer.step({"w": np.zeros((2, 2), np.float32)}, 1.0)
    decayed = [0.25 * w for w in expected]
    velocity = [0.5 + d for d in decayed]
    moves = [d + 0.5 * v if nesterov else v for d, v in zip(decayed, velocity, strict=True)]
    assert weights["w"][0].tolist() == [w - m for w, m in zip(expected, moves, strict=True)]
    assert weights["w"][1].tolist() == [0, 0]


def test_adamw_by_hand():
    weights = {"w": np.array([[1.0, -2.0], [0.0, 4.0]], np.float32)}
    AdamW(weights, weight_decay=0.5).step({"w": np.array([[3.0, -1e-3], [0.0, 7.0]], np.float32)}, 0.1)
    # The first step decays by 1 - 0.1 * 0.5 and moves by 0.1 against the sign of the gradient.
    np.testing.assert_allclose(weights["w"], [[0.85, -1.8], [0, 3.7]], rtol=1e-5)


def pairs(weights, torch):
    return {key: torch.nn.Parameter(torch.from_numpy(value.copy())) for key, value in weights.items()}


def torch_groups(theirs, peak, decay):
    """One group a tensor, as a user writes what GROUPS means; a frozen tensor is not given."""
    return [
        {
            "params": [parameter],
            "lr": peak * factor(name, True),
            "weight_decay": decay if is_decayed(name, True) else 0.0,
        }
        for name, parameter in theirs.items()
        if factor(name, True) > 0
    ]


def torch_optimizer(torch, kind, groups, peak):
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=peak)
    momentum = 0.0 if kind == "plain" else 0.9
    return torch.optim.SGD(groups, lr=peak, momentum=momentum, nesterov=kind == "nesterov")


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_torch(kind, decay):
    torch = pytest.importorskip("torch")
    weights = parameters()
    theirs = pairs(weights, torch)
    ours = KINDS[kind](weights, weight_decay=decay, groups=GROUPS)
    reference = torch_optimizer(torch, kind, torch_groups(theirs, 1.0, decay), 1.0)
    scales = [group["lr"] for group in reference.param_groups]
    for step in range(STEPS):
        ours.step(gradients(step), lr(step))
        for key, gradient in gradients(step).items():
            theirs[key].grad = torch.from_numpy(gradient)
        for group, scale in zip(reference.param_groups, scales, strict=True):
            group["lr"] = lr(step) * scale
        reference.step()
    assert_close(weights, {key: value.detach().numpy() for key, value in theirs.items()}, 1e-6)


def torch_schedule(torch, optimizer, schedule: Schedule, total):
    kinds = torch.optim.lr_scheduler
    if schedule.name == "onecycle":
        rates = [group["lr"] for group in optimizer.param_groups]
        return kinds.OneCycleLR(optimizer, rates, total_steps=total)
    rising = schedule.rising(total)
    warm = kinds.LinearLR(optimizer, start_factor=1 / (rising + 1), total_iters=rising)
    if schedule.name == "cosine":
        fall = kinds.CosineAnnealingLR(optimizer, T_max=total - rising)
    else:
        fall = kinds.MultiStepLR(optimizer, [round(total * m) - rising for m in (0.5, 0.75)], gamma=0.1)
    return kinds.SequentialLR(optimizer, [warm, fall], milestones=[rising])


def loss_gradients(weights, step, part):
    """Of a loss that depends on the weights, so that errors would feed on themselves."""
    noise = np.random.default_rng([2, step, part])
    return {
        name: np.asarray(np.float32(0.3) * w + noise.normal(size=w.shape).astype(np.float32))
        for name, w in weights.items()
    }


class Quadratic:
    """An engine with the gradients of :func:`loss_gradients`; a label says which step and part it is."""

    def __init__(self, weights):
        self.parameters = weights
        self.gradients = {name: np.zeros_like(array) for name, array in weights.items()}
        self.rewrites: list[Rewrite] = []

    def save(self, model):
        raise AssertionError("nothing here saves")

    def step(self, images, labels):
        for name, gradient in loss_gradients(self.parameters, *labels.tolist()).items():
            self.gradients[name][...] = gradient
        return StepResult({"loss": 0.0}, np.zeros((2, 3), np.float32))


# torch warns that SequentialLR steps its schedulers before the optimiser, which is its own doing.
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
@pytest.mark.filterwarnings("ignore:The epoch parameter in")
@pytest.mark.parametrize("text", ["cosine", "step", "onecycle"])
@pytest.mark.parametrize("kind", ["nesterov", "momentum", "adamw"])
def test_groups_schedule_clipping_accumulation_and_average_together_agree_with_torch(kind, text):
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    parts, limit, peak, decay = 4, 125.0, 0.01 if kind == "adamw" else 0.05, 0.05
    schedule = parse(text, peak=peak, warmup=None if text == "onecycle" else 0.2)
    weights = parameters()
    ours = KINDS[kind](weights, weight_decay=decay, groups=GROUPS)
    global_step = GlobalStep(Quadratic(weights), Alone(), parts, [])  # type: ignore[arg-type]
    average = WeightAverage(weights, 0.9)
    network = torch.nn.ParameterDict({k.replace(".", "_"): p for k, p in pairs(weights, torch).items()})
    theirs = {name: network[name.replace(".", "_")] for name in weights}
    theirs["frozen"].requires_grad_(False)
    reference = torch_optimizer(torch, kind, torch_groups(theirs, peak, decay), peak)
    scheduler = torch_schedule(torch, reference, schedule, STEPS)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    clipped = 0
    for step in range(STEPS):
        global_step([(np.zeros(0, np.float32), np.array([step, part])) for part in range(parts)])
        means = {name: global_step.gradients[name] for name in ours.names}
        clipped += clip_norm(means, limit) > limit
        ours.step(means, schedule.lr(step, STEPS), schedule.momentum(step, STEPS))
        average.update()

        reference.zero_grad()
        values = {name: p.detach().numpy() for name, p in theirs.items()}
        for part in range(parts):
            for name, gradient in loss_gradients(values, step, part).items():
                if name != "frozen":  # as (loss / parts).backward() does
                    share = torch.from_numpy(gradient) / parts
                    before = theirs[name].grad
                    theirs[name].grad = share if before is None else before + share
        torch.nn.utils.clip_grad_norm_(list(theirs.values()), limit)
        reference.step()
        scheduler.step()
        averaged.update_parameters(network)
    assert clipped > 0
    assert_close(weights, {name: p.detach().numpy() for name, p in theirs.items()}, 1e-6)
    expected = {name: averaged.module[name.replace(".", "_")].detach().numpy() for name in weights}
    assert_close(average.values, expected, 1e-6)


def test_vectors_scalars_and_the_frozen_do_not_decay():
    weights = parameters()
    nothing = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    SGD(weights, weight_decay=0.5, groups=GROUPS).step(nothing, 0.1)
    moved = {name for name, before in parameters().items() if not np.array_equal(weights[name], before)}
    assert moved == {"weight", "slow.weight"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_frozen_or_not_given_is_neither_moved_nor_kept_as_state(kind):
    weights = parameters()
    optimizer = KINDS[kind](
        {n: w for n, w in weights.items() if n != "bias"}, weight_decay=0.1, groups=GROUPS
    )
    assert optimizer.names == set(SHAPES) - {"frozen", "bias"}
    run(optimizer)
    for name, before in parameters().items():
        assert np.array_equal(weights[name], before) == (name in ("frozen", "bias"))
    assert not [name for name in optimizer.state_arrays() if name.endswith(("/frozen", "/bias"))]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_left_as_they_are(kind):
    given = gradients(0)
    KINDS[kind](parameters(), weight_decay=0.1).step(given, 0.1)
    assert all(given[name].tobytes() == array.tobytes() for name, array in gradients(0).items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_allocates_nothing_of_the_size_of_a_parameter(kind):
    weights = {"w": np.ones((64, PIECE), np.float32), "b": np.ones(64, np.float32)}
    gradient = {name: np.ones_like(array) for name, array in weights.items()}
    optimizer = KINDS[kind](weights)
    optimizer.step(gradient, 0.1)
    tracemalloc.start()
    try:
        optimizer.step(gradient, 0.1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < PIECE  # bytes: a quarter of one block


@pytest.mark.parametrize("momentum", [None, varying])
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_state_continues_bit_for_bit(kind, momentum):
    whole, split = parameters(), parameters()
    run(KINDS[kind](whole, groups=GROUPS), momentum=momentum)
    first = KINDS[kind](split, groups=GROUPS)
    run(first, 0, 9, momentum)
    second = KINDS[kind](split, groups=GROUPS)
    second.load({name: array.copy() for name, array in first.state_arrays().items()})
    run(second, 9, STEPS, momentum)
    for name in SHAPES:
        assert whole[name].tobytes() == split[name].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_another_network_is_refused(kind):
    state = KINDS[kind]({"w": np.ones(3, np.float32)}).state_arrays()
    with pytest.raises(CheckpointError, match=r"no optimiser state \w+/w of shape \(4,\)"):
        KINDS[kind]({"w": np.ones(4, np.float32)}).load(state)
    with pytest.raises(CheckpointError, match=r"no optimiser state \w+/v"):
        KINDS[kind]({"v": np.ones(3, np.float32)}).load(state)


@pytest.mark.parametrize("kind", ["nesterov", "momentum", "adamw"])
def test_the_momentum_of_a_pruned_weight_ends_at_0(kind):
    """Not at denormal numbers, which are slow and, rounded to nearest, stay for ever."""
    weights = {"w": np.ones((2, PIECE), np.float32)}
    optimizer = KINDS[kind](weights, weight_decay=0.0)
    gradient = {"w": np.ones((2, PIECE), np.float32)}
    optimizer.step(gradient, 1e-3)
    gradient["w"][0] = 0
    for _ in range(900):  # 0.9 ** 830 is below what float32 holds in full
        optimizer.step(gradient, 1e-9)
    (name,) = (n for n in optimizer.state_arrays() if n in ("velocity/w", "mean/w"))
    rows = optimizer.state_arrays()[name].reshape(2, -1)
    assert not rows[0].any()
    assert rows[1].all()


def test_no_optimiser_for_nothing():
    optimizer = SGD({})
    optimizer.step({}, 0.1)
    assert optimizer.names == frozenset()


@pytest.mark.parametrize("array", [np.ones((4, 4), np.float32)[:, ::2], np.ones(3)])
def test_only_arrays_that_can_be_updated_in_place_are_taken(array):
    with pytest.raises(ValueError, match="w must be a writable, contiguous float32 array"):
        SGD({"w": array})
