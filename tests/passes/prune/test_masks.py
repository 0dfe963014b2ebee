"""Masks: exact counts, the smallest weights, monotone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxcomp.passes.prune import masks

arrays = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=6), elements=st.floats(-1, 1, width=32)
)
tables = st.lists(arrays, min_size=1, max_size=4).map(lambda found: {f"w{i}": a for i, a in enumerate(found)})


def ones(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.ones_like(array) for name, array in weights.items()}


@given(weights=tables, sparsity=st.floats(0, 1))
def test_uniform_is_exact_and_takes_the_smallest(weights: dict[str, np.ndarray], sparsity: float) -> None:
    found = ones(weights)
    masks.update(weights, found, sparsity, "uniform")
    for name, weight in weights.items():
        pruned = found[name] == 0
        assert pruned.sum() == round(sparsity * weight.size)
        if pruned.any() and not pruned.all():
            assert np.abs(weight[pruned]).max() <= np.abs(weight[~pruned]).min()


@given(weights=tables, sparsity=st.floats(0, 1))
def test_global_is_exact_and_keeps_a_share_of_each(weights: dict[str, np.ndarray], sparsity: float) -> None:
    found = ones(weights)
    masks.update(weights, found, sparsity, "global")
    total = sum(w.size for w in weights.values())
    kept = {name: max(1, round(masks.KEEP * w.size)) for name, w in weights.items()}
    zeros = sum(int((m == 0).sum()) for m in found.values())
    assert zeros == min(round(sparsity * total), total - sum(kept.values()))
    for name, mask in found.items():
        assert np.count_nonzero(mask) >= kept[name]


@given(weights=tables, steps=st.lists(st.floats(0, 0.9), min_size=2, max_size=5), seed=st.integers(0, 99))
@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_a_pruned_weight_stays_pruned(
    allocation: str, weights: dict[str, np.ndarray], steps: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    found = ones(weights)
    before = ones(weights)
    for sparsity in sorted(steps):
        masks.update(weights, found, sparsity, allocation)
        for name, weight in weights.items():
            assert not np.any((before[name] == 0) & (found[name] == 1))
            weight += rng.standard_normal(weight.shape).astype(np.float32)
        before = {name: mask.copy() for name, mask in found.items()}


def test_global_prunes_the_weaker_layer() -> None:
    weights = {"strong": np.full((10, 10), 2.0, np.float32), "weak": np.full((10, 10), 0.1, np.float32)}
    found = ones(weights)
    masks.update(weights, found, 0.45, "global")
    assert np.count_nonzero(found["strong"]) == 100
    assert np.count_nonzero(found["weak"]) == 10
    assert masks.sparsity_of(found) == pytest.approx(0.45, abs=1e-12)


def test_sparsity_of_nothing_is_zero() -> None:
    assert masks.sparsity_of({}) == 0.0
