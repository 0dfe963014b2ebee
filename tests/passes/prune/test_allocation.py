"""Allocations: how much of each weight goes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.passes.prune import allocation, masks
from onnxcomp.passes.prune.patterns import Unstructured
from onnxcomp.passes.prune.plan import Group, Plan

shapes = st.lists(
    st.tuples(st.integers(1, 64), st.integers(1, 64), st.sampled_from([(), (1, 1), (3, 3), (5, 5)])),
    min_size=1,
    max_size=6,
).map(lambda found: {f"w{i}": (o, n, *k) for i, (o, n, k) in enumerate(found)})


def test_each_and_together() -> None:
    assert allocation.each({"a": 0.1, "b": 0.2}) == (Group(("a",), 0.1), Group(("b",), 0.2))
    assert allocation.together("ab", 0.3) == (Group(("a", "b"), 0.3),)


def test_class_distribution_has_one_threshold_in_units_of_the_deviation() -> None:
    rng = np.random.default_rng(0)
    weights = {
        name: (rng.standard_normal((50, 40)) * scale).astype(np.float32)
        for name, scale in (("a", 1), ("b", 0.01), ("c", 30))
    }
    groups = allocation.class_distribution(weights, 0.7)
    assert groups[0].deviations == pytest.approx([float(w.std(dtype=np.float64)) for w in weights.values()])
    found = {name: np.ones_like(weight) for name, weight in weights.items()}
    plan = Plan(groups, Unstructured())
    masks.close(plan, groups[0], lambda name: np.abs(weights[name]), found, 0.7)
    limits = [np.abs(w[found[name] == 0]).max() / w.std() for name, w in weights.items()]
    # Between two neighbours of 2000 values of a normal distribution.
    assert limits == pytest.approx([limits[0]] * 3, rel=0.02)
    assert masks.sparsity_of(found) == pytest.approx(0.7, abs=1e-9)


def test_erk_is_the_formula() -> None:
    found = allocation.erk({"conv": (64, 32, 3, 3), "dense": (10, 64), "wide": (256, 256, 1, 1)}, 0.9)
    raw = {
        "conv": (64 + 32 + 3 + 3) / (64 * 32 * 9),
        "dense": (10 + 64) / 640,
        "wide": (256 + 256 + 2) / 65536,
    }
    sizes = {"conv": 18432, "dense": 640, "wide": 65536}
    factor = 0.1 * sum(sizes.values()) / sum(raw[name] * sizes[name] for name in raw)
    assert factor * raw["dense"] > 1  # stays dense, and the others get what is left
    factor = (0.1 * sum(sizes.values()) - 640) / sum(raw[name] * sizes[name] for name in ("conv", "wide"))
    assert found["dense"] == 0
    assert found["conv"] == pytest.approx(1 - factor * raw["conv"], abs=1e-12)
    assert found["wide"] == pytest.approx(1 - factor * raw["wide"], abs=1e-12)


@given(shapes=shapes, sparsity=st.floats(0, 0.999))
def test_erk_reaches_the_share_over_all(shapes: dict[str, tuple[int, ...]], sparsity: float) -> None:
    found = allocation.erk(shapes, sparsity)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    total = sum(sizes.values())
    assert all(0 <= share <= 1 for share in found.values())
    # Float64 sums: to a thousandth of a weight.
    assert sum(found[n] * sizes[n] for n in shapes) == pytest.approx(sparsity * total, abs=1e-3)
    density = {name: (1 - found[name]) / (sum(shapes[name]) / sizes[name]) for name in shapes}
    some = [value for name, value in density.items() if found[name] > 0]
    assert some == pytest.approx([max(some)] * len(some), rel=1e-6) if some else sparsity < 1e-9


def curves(**layers: dict[str, float]) -> dict[str, Any]:
    return {
        "dense": {"top1": 80.0, "loss": 1.0},
        "layers": {
            name: {share: {"top1": 80.0 - drop, "loss": 1.0} for share, drop in drops.items()}
            for name, drops in layers.items()
        },
    }


def test_the_largest_share_within_the_drop() -> None:
    found = allocation.shares_for_drop(
        curves(
            between={"0.5": 0.0, "0.7": 1.0, "0.9": 4.0},
            never={"0.5": 0.1, "0.9": 0.9},
            at_once={"0.5": 10.0, "0.9": 50.0},
            gains={"0.9": -3.0},
            again={"0.3": 5.0, "0.5": 0.0, "0.9": 8.0},
            unsorted={"0.9": 4.0, "0.5": 0.0},
        ),
        2.0,
    )
    assert found == pytest.approx(
        {
            "between": 0.7 + 0.2 / 3,
            "never": 0.9,
            "at_once": 0.1,
            "gains": 0.9,
            "again": 0.6,
            "unsorted": 0.7,
        },
        abs=1e-12,
    )


def test_a_drop_of_nothing_leaves_what_costs_nothing() -> None:
    found = allocation.shares_for_drop(curves(a={"0.5": 0.0, "0.9": 1.0}, b={"0.5": 1.0}), 0.0)
    assert found == pytest.approx({"a": 0.5, "b": 0.0}, abs=1e-12)


@given(
    drops=st.dictionaries(st.floats(0.01, 0.99), st.floats(-5, 50), min_size=1, max_size=6),
    least=st.floats(0, 20),
    more=st.floats(0, 20),
)
def test_more_drop_never_means_less_sparsity(drops: dict[float, float], least: float, more: float) -> None:
    table = curves(w={str(share): drop for share, drop in drops.items()})
    first, second = (allocation.shares_for_drop(table, most)["w"] for most in (least, least + more))
    assert 0 <= first <= second <= max(drops)
    known = sorted({0.0: 0.0, **drops}.items())
    at = np.interp(first, [share for share, _ in known], [drop for _, drop in known])
    assert at <= least + 1e-9
