"""Statistics of activations: histograms against numpy's, on any data and in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxcomp.observed import BINS, EXACT, PIECE, SMALLEST, Observed, together

batches = st.lists(
    hnp.arrays(
        np.float32,
        st.integers(0, 40),
        # Both signs, zeros of both, powers of two (limits) and subnormals.
        elements=st.one_of(
            st.floats(-1e3, 1e3, width=32), st.sampled_from([0.0, -0.0, 1.0, -1.0, 4.0, -4.0, 1e-40, -1e-40])
        ),
    ),
    min_size=1,
    max_size=5,
)


def seen(parts: list[np.ndarray], *, histogram: bool = True) -> Observed:
    found = Observed(histogram=histogram)
    for part in parts:
        found.add(part)
    return found


def naive(values: np.ndarray, limit: float) -> np.ndarray:
    """One value after the other, in exact arithmetic: bins hold their lower edge."""
    counts = np.zeros(2 * BINS)
    for value in values.astype(np.float64):
        counts[int(np.floor(value * BINS / limit)) + BINS] += 1
    return counts


@given(parts=batches)
def test_every_value_is_counted_in_its_bin(parts: list[np.ndarray]) -> None:
    values = np.concatenate(parts)
    found = seen(parts)
    assert found.counts.sum() == values.size
    if values.size:
        assert (found.low, found.high) == (values.min(), values.max())
        assert found.largest == np.abs(values).max()
    if found.limit:
        assert found.limit > found.largest >= found.limit / 2
        np.testing.assert_array_equal(found.counts, naive(values, found.limit))
        np.testing.assert_array_equal(found.magnitudes, found.counts[BINS:] + found.counts[:BINS][::-1])
        assert found.edges[0] == -found.limit
        assert found.edges[BINS] == 0


@given(parts=batches, seed=st.integers(0, 9))
def test_the_order_and_the_batches_of_the_data_change_nothing(parts: list[np.ndarray], seed: int) -> None:
    values = np.random.default_rng(seed).permutation(np.concatenate(parts))
    left, right = seen(parts), seen([values])
    np.testing.assert_array_equal(left.counts, right.counts)
    assert (left.limit, left.low, left.high) == (right.limit, right.low, right.high)


@given(parts=batches)
def test_tensors_together_are_what_one_tensor_of_all_would_be(parts: list[np.ndarray]) -> None:
    alone = [seen([part]) for part in parts]
    before = [one.counts.copy() for one in alone]
    found, expected = together(alone), seen(parts)
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert (found.limit, found.low, found.high) == (expected.limit, expected.low, expected.high)
    for one, counts in zip(alone, before, strict=True):
        np.testing.assert_array_equal(one.counts, counts)


@given(parts=batches)
def test_ranges_are_the_same_without_a_histogram(parts: list[np.ndarray]) -> None:
    names = ("low", "high", "moving_low", "moving_high", "batches", "largest")
    left, right = seen(parts), seen(parts, histogram=False)
    assert not right.histogram
    assert [getattr(left, name) for name in names] == [getattr(right, name) for name in names]
    assert not together([left, right]).histogram


def test_the_moving_range_decays() -> None:
    found = seen([np.array([-1, 2], np.float32), np.array([-3, 4], np.float32)])
    # 0.9 of the first batch and 0.1 of the second.
    assert found.moving_low == pytest.approx(-1.2)
    assert found.moving_high == pytest.approx(2.2)


def test_zero_of_either_sign_is_not_negative_and_the_smallest_values_keep_their_sign() -> None:
    tiny = float(np.finfo(np.float32).smallest_subnormal)
    found = seen([np.array([0.0, -0.0, tiny, -tiny], np.float32)])
    assert found.limit == 0
    assert found.counts[BINS - 1 : BINS + 1].tolist() == [1, 3]
    found.add(np.array([1, -tiny], np.float32))
    assert found.counts[BINS - 1 : BINS + 1].tolist() == [2, 3]


@pytest.mark.parametrize("value", [SMALLEST, 1.0, 2.0, 3.4e38, float(np.finfo(np.float32).max)])
def test_any_magnitude_has_a_bin(value: float) -> None:
    found = seen([np.array([value, -value], np.float32)])
    assert found.limit > float(np.float32(value))
    assert found.counts.sum() == 2
    assert np.isfinite(found.edges).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    for histogram in (True, False):
        with pytest.raises(ValueError, match="not finite"):
            seen([np.array([1, value, 2], np.float32)], histogram=histogram)


def draws(name: str, size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    normal = rng.standard_normal(size).astype(np.float32)
    of = {
        "normal": normal,
        "relu": np.maximum(normal, 0),
        "negative": -np.abs(normal),
        "heavy": rng.standard_t(3, size).astype(np.float32),
        "saturated": np.clip(normal, 0, np.float32(0.5)),
        "constant": np.full(size, 3, np.float32),
        "huge": np.full(size, np.finfo(np.float32).max, np.float32),
    }
    return of[name]


@pytest.mark.parametrize("size", [EXACT, PIECE + EXACT + 1])
@pytest.mark.parametrize("name", ["normal", "relu", "negative", "heavy", "saturated", "constant", "huge"])
def test_the_bulk_of_large_batches_is_a_sample_and_the_tail_is_exact(name: str, size: int) -> None:
    values = draws(name, size)
    found = seen([values])
    exact = seen(np.array_split(values, 2 * size // EXACT + 1))
    assert exact.counts.sum() == size
    assert found.counts.sum() == pytest.approx(size, rel=1e-12)
    assert (found.low, found.high, found.limit) == (exact.low, exact.high, exact.limit)
    # The last 0.1 % of the magnitudes, in all bins that hold nothing else. A single bin may hold more.
    beyond = np.cumsum(exact.magnitudes[::-1])[::-1] <= size / 1000
    np.testing.assert_array_equal(found.magnitudes[beyond], exact.magnitudes[beyond])
    # Kolmogorov's distance of a sample of n from its population is below 1.95 / sqrt(n) but for 0.1 %.
    distance = np.abs(np.cumsum(found.counts) - np.cumsum(exact.counts)).max() / size
    assert distance < 1.95 / np.sqrt(size / 13)
