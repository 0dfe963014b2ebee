"""Clipping of least squared error: its errors against sums over values, its choice against all choices."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxcomp.observed import BINS
from onnxcomp.passes.qat.grid import INT8, UINT8, Grid
from onnxcomp.passes.qat.least_squares import Moments, least_squares
from tests.passes.qat import activations


@given(
    values=hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(-10, 10, width=32)),
    limits=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)),
    grid=st.sampled_from([INT8, UINT8]),
)
def test_errors_are_those_of_values_in_the_centres_of_bins(
    values: np.ndarray, limits: tuple[float, float], grid: Grid
) -> None:
    seen = activations.observed(values, np.array([8], np.float32))
    centres = (seen.edges[:-1] + seen.edges[1:]) / 2
    real = np.repeat(centres, seen.counts.astype(int))
    scale, zero = grid.encode(np.array([-limits[0]]), np.array([limits[1]]))
    found = Moments.of(seen).errors(scale, zero, grid)
    integers = np.clip(np.rint(real / scale) + zero, grid.low, grid.high)
    expected = ((integers - zero) * scale - real) ** 2
    # Differences of sums of squares up to 3,100 in float64.
    assert found[0] == pytest.approx(expected.sum(), abs=1e-9)


@pytest.mark.parametrize("grid", [INT8, UINT8], ids=["int8", "uint8"])
@pytest.mark.parametrize("name", activations.NAMES)
def test_no_other_range_is_much_better(name: str, grid: Grid) -> None:
    values = activations.values(name, 4000)
    seen = activations.observed(values)
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)

    def error(low: float, high: float) -> float:
        scale, zero = grid.encode(np.array([low]), np.array([high]))
        return activations.error(values, scale[0], zero[0], grid)

    shares = np.linspace(0.05, 1, 39)
    lows = low * shares if low and not (grid.symmetric and high) else np.array([low])
    highs = high * shares if high else np.array([0.0])
    if grid.symmetric:
        pairs = [(-clip, clip) for clip in seen.largest * np.linspace(0.05, 1, 400)]
    else:
        pairs = [(one, other) for one in lows for other in highs]
    best = min(error(*pair) for pair in pairs)
    found = error(*least_squares(seen, grid))
    assert found <= error(low, high)
    # Rounding of 4,000 values is noise: ranges next to each other differ by a few per cent.
    assert found <= 1.03 * best


@pytest.mark.parametrize("grid", [INT8, UINT8], ids=["int8", "uint8"])
def test_a_tensor_takes_few_milliseconds(grid: Grid) -> None:
    seen = activations.observed(activations.values("heavy"))
    spent = []
    for _ in range(5):
        start = time.process_time()
        least_squares(seen, grid)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.005


def test_moments_hold_what_was_seen() -> None:
    values = activations.values("swish")
    moments = Moments.of(activations.observed(values))
    assert moments.first == BINS
    assert moments.count[-1] == values.size
    # Each value counts as the centre of its bin, half a bin away at most.
    assert abs(moments.total[-1] - values.sum(dtype=np.float64)) < values.size * moments.width / 2
    assert Moments.of(activations.observed(np.abs(values))).first == 0
