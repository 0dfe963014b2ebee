"""Every criterion, pattern and allocation on every classifier: LeNet-5 to DenseNet201 and ViT, reduced."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp.errors import PassError
from onnxcomp.model import Model
from onnxcomp.passes.base import Context
from onnxcomp.passes.prune import Prune, masks, patterns
from onnxcomp.passes.prune.plan import Group, Plan
from onnxcomp.recipe import Recipe
from tests import classifiers, run
from tests.passes.prune import fake

SHARE = 0.6
CRITERIA = ("magnitude", "random", "taylor", "obd", "obs")
ALLOCATIONS = ("global", "uniform", "class-distribution", "erk")
PATTERNS = ("unstructured", "2:4", "1:2", "2x1", "1x4")
COMBINATIONS = tuple(
    (allocation, pattern)
    for allocation in ALLOCATIONS
    for pattern in PATTERNS
    if allocation in ("global", "uniform") or ":" not in pattern
)
FEW = (("uniform", "2:4"), ("global", "unstructured"), ("erk", "1x4"))
"""For obs, which solves every layer; the first alone for :data:`SLOW`."""
SLOW = ("resnet18", "densenet121", "densenet201")

network: Callable[[str], Model] = cache(lambda name: classifiers.NETWORKS[name]())


def apply(name: str, **options: Any) -> tuple[Model, Prune]:
    """The pass alone: no checker, no losses."""
    prune, model = Prune(schedule="one-shot", **options), network(name).copy()
    context = Context(model, gradients=fake.Gradients(1), grams=fake.Grams())
    prune.requires(model, context)
    prune.apply(model, context)
    prune.ensures(model)
    return model, prune


def masks_of(model: Model) -> dict[str, np.ndarray]:
    return {weight: mask.values for weight, mask in graphs.masks(model.graph).items()}


def check_group(plan: Plan, group: Group, found: dict[str, np.ndarray]) -> None:
    """The share is met to half a unit, but for what ranking leaves of each weight; units close whole."""
    gone = 0
    for name in group.names:
        mask = plan.facing(name, found[name])
        zeros = _zeros(plan.pattern, mask)
        assert set(zeros.ravel().tolist()) <= {0, plan.pattern.gone}
        gone += int((zeros > 0).sum())
    units = sum(found[name].size for name in group.names) // plan.pattern.size
    wanted = group.sparsity / plan.pattern.zeros * units
    if plan.pattern.gone < plan.pattern.size:
        assert gone == units
    else:
        assert abs(gone - wanted) <= max(0.5, len(group.names) == 1 and units - gone == 1)


def _zeros(pattern: patterns.Pattern, mask: np.ndarray) -> np.ndarray:
    """In each unit of a mask (outputs, inputs, ...)."""
    rows, columns = (
        (pattern.rows, pattern.columns) if isinstance(pattern, patterns.Blocks) else (1, pattern.size)
    )
    outputs, inputs, *rest = mask.shape
    split = mask.reshape(outputs // rows, rows, inputs // columns, columns, *rest)
    found: np.ndarray = (split == 0).sum((1, 3))
    return found


@pytest.mark.parametrize("name", classifiers.NETWORKS)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_allocation_and_pattern(name: str, criterion: str) -> None:
    few = FEW[:1] if name in SLOW else FEW
    for allocation, pattern in few if criterion == "obs" else COMBINATIONS:
        options = {"sparsity": SHARE} if ":" not in pattern else {}
        result, prune = apply(name, criterion=criterion, allocation=allocation, pattern=pattern, **options)
        plan, found = prune.plan(network(name)), masks_of(result)
        every = [weight.name for weight in graphs.weights(network(name).graph)]
        assert sorted([*found, *plan.left]) == sorted(every)
        for group in plan.groups:
            if criterion != "obs" or len(group.names) == 1:
                check_group(plan, group, found)
        total = sum(mask.size for mask in found.values())
        # Half a unit of each weight, in those of the reduced LeNet-5 at most a few of a thousand.
        share = prune.final if allocation != "erk" else _share(plan, found)
        assert masks.sparsity_of(found) == pytest.approx(
            share, abs=0.5 * len(found) * plan.pattern.size / total
        )


def _share(plan: Plan, found: dict[str, np.ndarray]) -> float:
    sizes = {group.names[0]: found[group.names[0]].size for group in plan.groups}
    return sum(group.sparsity * sizes[group.names[0]] for group in plan.groups) / sum(sizes.values())


@pytest.mark.parametrize("name", classifiers.NETWORKS)
def test_the_masked_network_is_the_one_with_those_weights_zero(name: str) -> None:
    images = run.images(network(name), 2)
    dense = run.logits(network(name), images)
    for pattern in ("unstructured", "2:4"):
        result = pipeline.apply(network(name), Recipe((Prune(schedule="one-shot", pattern=pattern),)))
        zeroed = network(name).copy()
        constants = zeroed.constants()
        for weight, mask in masks_of(result).items():
            constants[weight].values = constants[weight].values * mask
        logits = run.logits(result, images)
        # The same kernels on the same products, relative to logits of about 1.
        np.testing.assert_allclose(logits, run.logits(zeroed, images), atol=1e-5)
        assert np.abs(logits - dense).max() > 1e-3


@pytest.mark.parametrize("name", classifiers.NETWORKS)
@pytest.mark.parametrize("schedule", ["cubic", "iterative", "ramp"])
def test_schedules_leave_the_network_as_it_is_before_training(name: str, schedule: str) -> None:
    prune = Prune(schedule=schedule, sparsity=SHARE)  # type: ignore[arg-type]
    result = pipeline.apply(network(name), Recipe((prune,)))
    assert all((mask == 1).all() for mask in masks_of(result).values())


@pytest.mark.parametrize("name", classifiers.NETWORKS)
def test_depthwise_and_odd_layers_are_left_alone_for_a_reason(name: str) -> None:
    plan = Prune(pattern="2:4", keep_first=False, keep_last=False).plan(network(name))
    for weight in graphs.weights(network(name).graph):
        inputs = (
            int(weight.tensor.shape[plan.layouts[weight.name].inputs]) if weight.name in plan.names else 0
        )
        assert inputs % 4 == 0
        reason = plan.left.get(weight.name, "")
        assert (weight.name in plan.names) == (reason == "")
        assert reason == "" or reason.endswith("not divisible by 4")


def test_a_network_without_weights_left_says_so() -> None:
    with pytest.raises(PassError, match="there is no weight to prune; left alone: "):
        apply("lenet5", pattern="1:512")
