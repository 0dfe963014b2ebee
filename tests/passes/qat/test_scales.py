"""Scales and zero points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxcomp.observed import Observed
from onnxcomp.passes.qat.clipping import Method
from onnxcomp.passes.qat.grid import INT8, UINT8, Grid
from onnxcomp.passes.qat.scales import activation_encoding, weight_scale
from tests.passes.qat import activations

weights = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=st.floats(-1e3, 1e3, width=32)
)


@given(values=weights, data=st.data())
def test_no_weight_clips_and_the_error_is_half_a_step(values: np.ndarray, data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, values.ndim - 1))
    scale = weight_scale(values, axis)
    assert scale.dtype == np.float32
    assert scale.shape == (values.shape[axis],)
    assert (scale > 0).all()
    shape = [1] * values.ndim
    shape[axis] = -1
    wide = scale.reshape(shape)
    quantized = np.rint(values / wide)
    assert np.abs(quantized).max() <= 127
    # Half a step, and float32 rounding of w / s near 127 levels.
    assert (np.abs(quantized * wide - values) <= 0.5001 * wide).all()


def test_a_channel_of_zeros_has_scale_one() -> None:
    values = np.zeros((2, 3), np.float32)
    values[1] = 127
    np.testing.assert_array_equal(weight_scale(values, 0), [1, 1])


@given(
    values=hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e4, 1e4, width=32)),
    method=st.sampled_from(["max", "moving-average", "percentile", "entropy", "mse"]),
    grid=st.sampled_from([INT8, UINT8]),
)
def test_every_method_gives_a_scale_and_a_zero_that_is_exact(
    values: np.ndarray, method: Method, grid: Grid
) -> None:
    seen = activations.observed(values)
    scale, zero = activation_encoding(seen, method, 99.9, grid)
    assert (scale.dtype, scale.shape) == (np.float32, ())  # type: ignore[comparison-overlap]
    assert (zero.dtype, zero.shape) == (grid.dtype, ())  # type: ignore[comparison-overlap]
    assert scale > 0
    assert grid is not INT8 or zero == 0
    assert values.min() < 0 or zero == 0
    quantized = np.clip(np.rint(np.float32(0) / scale) + zero, grid.low, grid.high)
    assert (quantized - zero) * scale == 0
    if method == "max" and seen.largest > 1e-30:
        wide = np.clip(np.rint(values / scale) + zero, grid.low, grid.high)
        # Half a step, and for a rounded zero point half a step of clipping more.
        assert (np.abs((wide - zero) * scale - values) <= 1.001 * scale).all()


@pytest.mark.parametrize("grid", [INT8, UINT8])
@pytest.mark.parametrize("method", ["max", "moving-average", "percentile", "entropy", "mse"])
@pytest.mark.parametrize("value", [0.0, 1e-44])
def test_constant_zero_activations_have_scale_one(value: float, method: Method, grid: Grid) -> None:
    for seen in (activations.observed(np.full(9, value, np.float32)), Observed()):
        assert activation_encoding(seen, method, 99.9, grid) == (1, 0)  # type: ignore[comparison-overlap]


@given(values=weights, data=st.data(), bits=st.integers(2, 8))
def test_no_weight_clips_at_fewer_bits(values: np.ndarray, data: st.DataObject, bits: int) -> None:
    axis = data.draw(st.integers(0, values.ndim - 1))
    shape = [1] * values.ndim
    shape[axis] = -1
    scale = weight_scale(values, axis, bits=bits).reshape(shape)
    assert np.abs(np.rint(values / scale)).max() <= 2 ** (bits - 1) - 1
