"""Masks: exact counts, the cheapest units, and never open again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.passes.prune import masks, schedule
from onnxcomp.passes.prune.patterns import NM, Blocks, Pattern, Unstructured
from onnxcomp.passes.prune.plan import Group, Layout, Plan

Table = dict[str, np.ndarray]
PATTERNS: tuple[Pattern, ...] = (Unstructured(), NM(2, 4), NM(1, 4), NM(3, 4), Blocks(2, 1), Blocks(1, 4))
patterns = st.sampled_from(PATTERNS)
shares = st.floats(0, 0.999)


@st.composite
def tables(draw: st.DrawFn, most: int = 4) -> Table:
    """Weights that all patterns fit, few values of which are different from each other or many."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    levels = draw(st.sampled_from([1, 2, 5, 10**6]))
    found = {}
    for index in range(draw(st.integers(1, most))):
        shape = (
            2 * draw(st.integers(1, 3)),
            4 * draw(st.integers(1, 3)),
            *draw(st.sampled_from([(), (3, 2)])),
        )
        found[f"w{index}"] = (rng.integers(-levels, levels + 1, shape) / levels).astype(np.float32)
    return found


def ones(weights: Table) -> Table:
    return {name: np.ones_like(array) for name, array in weights.items()}


def magnitudes(weights: Table) -> Callable[[str], np.ndarray]:
    return lambda name: np.abs(weights[name])


def closed(weights: Table, plan: Plan, sparsity: float, relative: float = 1.0) -> Table:
    found = ones(weights)
    for group in plan.groups:
        masks.close(plan, group, magnitudes(weights), found, sparsity, relative)
    return found


def units(pattern: Pattern, values: np.ndarray) -> np.ndarray:
    """(units, weights of a unit) of (outputs, inputs, ...): written apart from the patterns' own code."""
    rows, columns = (pattern.rows, pattern.columns) if isinstance(pattern, Blocks) else (1, pattern.size)
    outputs, inputs, *_ = values.shape
    found = [
        values[o : o + rows, i : i + columns, ...].reshape(rows * columns, -1)
        for o in range(0, outputs, rows)
        for i in range(0, inputs, columns)
    ]
    return np.concatenate([part.T for part in found])


def costs(pattern: Pattern, weight: np.ndarray) -> np.ndarray:
    return np.sort(units(pattern, np.abs(weight)), axis=1)[:, : pattern.gone].sum(1)


def alone(weights: Table, pattern: Pattern, sparsity: float) -> Plan:
    return Plan(tuple(Group((name,), sparsity) for name in weights), pattern)


@given(weights=tables(), pattern=patterns, share=shares)
def test_each_by_itself_is_exact_and_loses_least(weights: Table, pattern: Pattern, share: float) -> None:
    sparsity = share * pattern.zeros
    found = closed(weights, alone(weights, pattern, sparsity), sparsity)
    for name, weight in weights.items():
        zeros = (units(pattern, found[name]) == 0).sum(1)
        empties = pattern.gone == pattern.size
        count = min(round(sparsity / pattern.zeros * zeros.size), zeros.size - empties)
        assert set(zeros.tolist()) <= {0, pattern.gone}
        assert (zeros > 0).sum() == count
        # The requested share to a unit of the pattern.
        assert abs(int((found[name] == 0).sum()) - sparsity * weight.size) <= pattern.size
        lost = np.abs(weight[found[name] == 0]).sum(dtype=np.float64)
        least = np.sort(costs(pattern, weight).astype(np.float64))[:count].sum()
        assert lost == pytest.approx(least, abs=1e-4)  # sums of at most 216 float32


@given(weights=tables(), pattern=st.sampled_from([NM(2, 4), NM(1, 4), NM(3, 4), NM(1, 2)]))
def test_in_the_end_every_group_keeps_n_of_m_the_largest(weights: Table, pattern: NM) -> None:
    together = Plan((Group(tuple(weights), pattern.zeros),), pattern)
    for plan in (alone(weights, pattern, pattern.zeros), together):
        found = closed(weights, plan, pattern.zeros)
        for name, weight in weights.items():
            kept = units(pattern, found[name])
            assert (kept.sum(1) == pattern.kept).all()
            values = units(pattern, np.abs(weight))
            smallest_kept = np.where(kept == 1, values, np.inf).min(1)
            assert (smallest_kept >= np.where(kept == 0, values, 0).max(1)).all()


@given(weights=tables(), pattern=patterns, share=shares)
def test_together_is_exact_and_leaves_some_of_each(weights: Table, pattern: Pattern, share: float) -> None:
    sparsity = share * pattern.zeros
    found = closed(weights, Plan((Group(tuple(weights), sparsity),), pattern), sparsity)
    sizes = {name: weight.size // pattern.size for name, weight in weights.items()}
    kept = dict.fromkeys(weights, 0)
    if pattern.gone == pattern.size:
        share = masks.KEEP if len(weights) > 1 else 0
        kept = {name: max(1, round(share * size)) for name, size in sizes.items()}
    gone = {name: int((units(pattern, mask) == 0).any(1).sum()) for name, mask in found.items()}
    total = sum(sizes.values())
    assert sum(gone.values()) == min(round(sparsity / pattern.zeros * total), total - sum(kept.values()))
    assert all(sizes[name] - gone[name] >= kept[name] for name in weights)
    # Of those that may go none that stays is cheaper than one that goes.
    free = {name: np.sort(costs(pattern, w))[: sizes[name] - kept[name]] for name, w in weights.items()}
    left = [free[name][gone[name] :].min(initial=np.inf) for name in weights]
    went = [free[name][: gone[name]].max(initial=0) for name in weights]
    assert max(went) <= min(left) + 1e-6  # sums of at most 4 float32


SCHEDULES = tuple(
    schedule.make(name, initial=0.0 if name == "ramp" else 0.1, begin=begin, end=0.8, frequency=3, steps=30)
    for name in schedule.KINDS
    for begin in (0.0, 0.3)
)


@given(weights=tables(), pattern=patterns, when=st.sampled_from(SCHEDULES), seed=st.integers(0, 99))
@pytest.mark.parametrize("together", [True, False])
def test_what_is_closed_stays_closed_until_the_end_is_reached_exactly(
    together: bool, weights: Table, pattern: Pattern, when: schedule.Schedule, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    sparsity = 0.6 * pattern.zeros
    plan = (
        Plan((Group(tuple(weights), sparsity),), pattern) if together else alone(weights, pattern, sparsity)
    )
    found, before = ones(weights), ones(weights)
    for step in range(30):
        if when.is_due(step):
            masks.update(plan, magnitudes(weights), found, when, step)
        for name, weight in weights.items():
            assert not np.any((before[name] == 0) & (found[name] == 1))
            zeros = (units(pattern, found[name]) == 0).sum(1)
            assert set(zeros.tolist()) <= {0, pattern.gone}
            weight += rng.standard_normal(weight.shape).astype(np.float32)
        before = {name: mask.copy() for name, mask in found.items()}
    for group in plan.groups:
        total = sum(found[name].size for name in group.names) // pattern.size
        most = total - len(group.names) * (pattern.gone == pattern.size)
        zeros = sum(int((found[name] == 0).sum()) for name in group.names)
        assert zeros == pattern.gone * min(round(sparsity / pattern.zeros * total), most)


@given(weights=tables(), pattern=patterns, share=shares, seed=st.integers(0, 99))
def test_the_order_of_names_does_not_matter(
    weights: Table, pattern: Pattern, share: float, seed: int
) -> None:
    sparsity = share * pattern.zeros
    names = list(weights)
    np.random.default_rng(seed).shuffle(names)
    deviations = {name: 1 + index for index, name in enumerate(weights)}
    results = []
    for order in (list(weights), names):
        group = Group(tuple(order), sparsity, tuple(deviations[name] for name in order))
        results.append(closed({name: weights[name] for name in order}, Plan((group,), pattern), sparsity))
    for name in names:
        assert np.array_equal(results[0][name], results[1][name])


@given(weights=tables(), share=shares)
def test_deviations_make_scales_irrelevant(weights: Table, share: float) -> None:
    names = tuple(weights)
    scales = [2.0**index for index in range(len(names))]  # exact
    scaled = {name: weights[name] * np.float32(s) for name, s in zip(names, scales, strict=True)}
    plain = closed(weights, Plan((Group(names, share, (1.0,) * len(names)),), Unstructured()), share)
    found = closed(scaled, Plan((Group(names, share, tuple(scales)),), Unstructured()), share)
    assert all(np.array_equal(plain[name], found[name]) for name in names)


def test_a_deviation_of_zero_is_none() -> None:
    weights = {"a": np.zeros((2, 4), np.float32), "b": np.arange(8, dtype=np.float32).reshape(2, 4)}
    found = closed(weights, Plan((Group(("a", "b"), 0.25, (0.0, 2.0)),), Unstructured()), 0.25)
    assert [int((found[name] == 0).sum()) for name in "ab"] == [4, 0]


@given(weights=tables(), relative=st.floats(0, 0.999), share=shares)
def test_a_relative_threshold_takes_what_is_below_it(weights: Table, relative: float, share: float) -> None:
    found = closed(weights, alone(weights, Unstructured(), share), share, relative)
    for name, weight in weights.items():
        scores = np.sort(np.abs(weight).reshape(-1))
        count = min(round(share * scores.size), scores.size - 1)
        limit = scores[count - 1] * np.float32(relative) if count else -1
        assert np.array_equal(found[name] == 0, np.abs(weight) < limit)


def test_a_weight_that_vanishes_keeps_one_unit() -> None:
    weights = {"w": np.arange(8, dtype=np.float32).reshape(2, 4)}
    found = closed(weights, alone(weights, Unstructured(), 0.99), 0.99)
    assert np.argwhere(found["w"]).tolist() == [[1, 3]]
    found = closed(weights, alone(weights, Blocks(2, 1), 0.99), 0.99)
    assert np.argwhere(found["w"]).tolist() == [[0, 3], [1, 3]]


def test_the_weaker_layer_loses_more_together() -> None:
    weights = {"strong": np.full((10, 10), 2.0, np.float32), "weak": np.full((10, 10), 0.1, np.float32)}
    found = closed(weights, Plan((Group(("strong", "weak"), 0.45),), Unstructured()), 0.45)
    assert np.count_nonzero(found["strong"]) == 100
    assert np.count_nonzero(found["weak"]) == 10
    assert masks.sparsity_of(found) == pytest.approx(0.45, abs=1e-12)


@pytest.mark.parametrize("pattern", [NM(2, 4), Blocks(2, 4)], ids=str)
def test_patterns_lie_along_the_axes_of_the_layout(pattern: Pattern) -> None:
    weight = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)  # (inputs, outputs)
    plan = Plan((Group(("w",), 0.5),), pattern, {"w": Layout(1, 0)})
    found = closed({"w": weight}, plan, 0.5)["w"]
    turned = closed({"w": weight.T.copy()}, alone({"w": weight}, pattern, 0.5), 0.5)["w"]
    assert 0 < np.count_nonzero(found) < found.size
    assert np.array_equal(found, turned.T)


def test_sparsity_of_nothing_is_zero() -> None:
    assert masks.sparsity_of({}) == 0.0
