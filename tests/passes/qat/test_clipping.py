"""Ranges of activations by every method."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxcomp.passes.qat.clipping import OF_RANGES, Method, clip_range, of_percentile
from onnxcomp.passes.qat.grid import INT8, UINT8, Grid
from tests.passes.qat import activations

METHODS: tuple[Method, ...] = get_args(Method)


@given(
    values=hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32)),
    method=st.sampled_from(METHODS),
    percent=st.floats(50, 100),
    grid=st.sampled_from([INT8, UINT8]),
)
def test_a_range_holds_zero_and_nothing_beyond_what_was_seen(
    values: np.ndarray, method: Method, percent: float, grid: Grid
) -> None:
    seen = activations.observed(values, histogram=method not in OF_RANGES)
    if not seen.largest:
        return
    low, high = clip_range(seen, method, percent, grid)
    assert min(seen.low, 0) <= low <= 0 <= high <= max(seen.high, 0)
    assert max(-low, high) > 0


def test_max_is_all_and_the_moving_average_forgets() -> None:
    seen = activations.observed(np.array([-8, 8], np.float32), np.array([1, 2], np.float32))
    assert clip_range(seen, "max", 0, INT8) == (-8, 8)
    # 0.9 of the first batch and 0.1 of the second.
    assert clip_range(seen, "moving-average", 0, INT8) == pytest.approx((-7.1, 7.4))


@pytest.mark.parametrize("name", activations.NAMES)
def test_percentiles_are_those_of_the_sorted_values(name: str) -> None:
    values = activations.values(name, 1_000_000)
    seen = activations.observed(*np.array_split(values, 3))
    ordered = np.sort(np.abs(values))
    width = seen.largest / 2048
    for percent in (99, 99.9, 99.99, 99.999, 99.9999, 100):
        # The bulk is a sample: its quantile lies among those next to it, 5 deviations away at most.
        spread = 5 * np.sqrt((1 - percent / 100) * 13 / values.size) if percent < 99.7 else 0
        least, most = (
            ordered[min(len(ordered), int(np.ceil(share * len(ordered)))) - 1]
            for share in (percent / 100 - spread, percent / 100 + spread)
        )
        assert least - width <= of_percentile(seen, percent) <= most + width


@given(
    values=hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-100, 100, width=32)),
    percents=st.tuples(st.floats(1, 100), st.floats(1, 100)),
)
def test_percentiles_grow_with_the_share(values: np.ndarray, percents: tuple[float, float]) -> None:
    seen = activations.observed(values)
    if not seen.limit:
        return
    small, large = sorted(percents)
    assert of_percentile(seen, small) <= of_percentile(seen, large) <= of_percentile(seen, 100)
    assert of_percentile(seen, 100) == pytest.approx(seen.largest, rel=1e-12)
    share = (np.abs(values) <= of_percentile(seen, large) + seen.limit / 4096).mean()
    assert share >= large / 100 - 1e-12


def test_a_percentile_is_found_inside_its_bin() -> None:
    # 4,096 bins up to 1,024: of a quarter each. A bin of 100 values among 1,000,000.
    seen = activations.observed(np.full(100, 0.2, np.float32), np.full(99, 600, np.float32))
    assert of_percentile(seen, 100 * 25 / 199) == pytest.approx(0.25 / 4)
    assert of_percentile(seen, 100 * 75 / 199) == pytest.approx(0.25 * 3 / 4)


@pytest.mark.parametrize("method", ["percentile", "entropy"])
@pytest.mark.parametrize("grid", [INT8, UINT8], ids=["int8", "uint8"])
def test_an_outlier_is_clipped(method: Method, grid: Grid) -> None:
    values = np.append(activations.values("relu", 50_000), np.float32(200))
    seen = activations.observed(values)
    low, high = clip_range(seen, method, 99.99, grid)
    assert low == 0
    assert 4 < high < 100
