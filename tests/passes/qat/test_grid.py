"""From ranges to scales and zero points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.passes.qat.grid import INT8, TINY, UINT8, Grid

limits = st.floats(0, 2.0**100, allow_subnormal=False)


@given(low=limits, high=limits, grid=st.sampled_from([INT8, UINT8]))
def test_zero_is_an_integer_and_the_range_moves_by_half_a_step(low: float, high: float, grid: Grid) -> None:
    scales, zeros = grid.encode(np.array([-low]), np.array([high]))
    scale, zero = float(scales[0]), float(zeros[0])
    assert scale == np.float32(scale) >= TINY
    assert zero == int(zero)
    assert grid.low <= zero <= grid.high
    if max(low, high) / 255 < TINY:
        return
    # The scale is rounded to float32, 24 bits, and is multiplied by up to 255 steps.
    slack = scale * (0.5 + 256 * 2.0**-24)
    assert (grid.high - zero) * scale >= high - slack
    assert (grid.low - zero) * scale <= -low + slack
    assert (grid.high - zero) * scale <= max(low, high) + slack


@pytest.mark.parametrize("grid", [INT8, UINT8])
def test_a_range_of_nothing_has_scale_one(grid: Grid) -> None:
    scales, zeros = grid.encode(np.array([0.0, -1e-44]), np.array([0.0, 1e-44]))
    assert scales.tolist() == [1, 1]
    assert zeros.tolist() == [0, 0]


def test_known_encodings() -> None:
    assert [float(one[0]) for one in INT8.encode(np.array([-254.0]), np.array([127.0]))] == [2, 0]
    assert [float(one[0]) for one in UINT8.encode(np.array([0.0]), np.array([255.0]))] == [1, 0]
    assert [float(one[0]) for one in UINT8.encode(np.array([-51.0]), np.array([204.0]))] == [1, 51]
    assert [float(one[0]) for one in UINT8.encode(np.array([-510.0]), np.array([0.0]))] == [2, 255]
