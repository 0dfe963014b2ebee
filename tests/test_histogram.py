"""The growing histogram against numpy on all the data at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.histogram import BINS, LEVELS, Histogram


@given(
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=6),
    exponents=st.lists(st.integers(-8, 8), min_size=6, max_size=6),
    seed=st.integers(0, 999),
)
def test_counts_all_values_whatever_their_size(sizes: list[int], exponents: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [
        (rng.standard_normal(n) * 2.0**e).astype(np.float32) for n, e in zip(sizes, exponents, strict=False)
    ]
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    values = np.abs(np.concatenate(parts))
    assert histogram.counts.sum() == values.size
    assert histogram.largest == values.max()
    expected, _ = np.histogram(values, BINS, (0, histogram.limit))
    # Merging bins is exact; only values within float32 rounding of an edge may fall to a neighbour.
    assert np.abs(np.cumsum(expected) - np.cumsum(histogram.counts)).max() <= 2


def test_percentile_is_within_a_bin() -> None:
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    histogram = Histogram()
    histogram.add(values)
    for percent in (50.0, 99.0, 99.9):
        exact = np.percentile(np.abs(values), percent)
        assert abs(histogram.percentile(percent) - exact) <= 2 * histogram.limit / BINS
    assert histogram.percentile(100) == histogram.largest


def test_best_clip_beats_the_largest_value_on_a_long_tail() -> None:
    values = np.random.default_rng(0).standard_normal(50_000).astype(np.float32)
    values[0] = 40
    histogram = Histogram()
    histogram.add(values)

    def error(clip: float) -> float:
        scale = clip / LEVELS
        return float(np.mean((np.clip(np.rint(values / scale), -LEVELS, LEVELS) * scale - values) ** 2))

    best = min((error(c), c) for c in np.linspace(0.4, 40, 100))
    # The histogram sees bin centres, so its choice may differ by a candidate or two, hardly in error.
    assert error(histogram.best_clip()) <= best[0] * 1.02
    assert error(histogram.best_clip()) < 0.9 * error(40)


def test_zeros_and_nothing() -> None:
    histogram = Histogram()
    assert histogram.percentile(99) == histogram.best_clip() == 0
    histogram.add(np.zeros(5, np.float32))
    assert histogram.percentile(99) == histogram.best_clip() == 0
    histogram.add(np.ones(5, np.float32))
    assert histogram.counts[0] == 5


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        Histogram().add(np.array([1, value], np.float32))


def test_magnitudes_too_small_for_float32_count_as_zero() -> None:
    histogram = Histogram()
    histogram.add(np.array([1e-38, 3e-35, 0], np.float32))
    assert histogram.largest == 0
    assert histogram.counts[0] == 3
