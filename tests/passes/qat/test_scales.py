"""Scales of symmetric INT8."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxcomp.observed import Observed
from onnxcomp.passes.qat.grid import INT8
from onnxcomp.passes.qat.scales import activation_encoding, weight_scale

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


@pytest.mark.parametrize("method", ["max", "percentile", "mse"])
def test_activation_scales_are_ordered_and_positive(method: str) -> None:
    histogram = Observed()
    histogram.add(np.random.default_rng(0).standard_normal(10_000).astype(np.float32))
    largest = activation_encoding(histogram, "max", 99.0, INT8)[0]
    assert largest == np.float32(histogram.largest / 127)
    assert 0 < activation_encoding(histogram, method, 99.0, INT8)[0] <= largest  # type: ignore[arg-type]
    assert activation_encoding(Observed(), method, 99.0, INT8)[0] == 1.0  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", range(2, 9))
def test_mse_scales_are_the_best_of_all_clipping_limits(bits: int) -> None:
    rng = np.random.default_rng(bits)
    values = rng.standard_t(4, (6, 40, 3)).astype(np.float32)
    levels = 2 ** (bits - 1) - 1

    def error(scale: np.ndarray) -> np.ndarray:
        wide = scale[:, None, None].astype(np.float64)
        return ((np.clip(np.rint(values / wide), -levels, levels) * wide - values) ** 2).sum(axis=(1, 2))

    found = error(weight_scale(values, 0, bits=bits, method="mse"))
    widest = weight_scale(values, 0, bits=bits)
    best = np.min([error(widest * factor) for factor in np.linspace(0.05, 1, 400)], axis=0)
    assert (found <= error(widest) * (1 + 1e-5)).all()
    # 24 limits against 400: within a tenth of the least error.
    assert (found <= best * 1.1).all()


@given(values=weights, data=st.data(), bits=st.integers(2, 8))
def test_no_weight_clips_at_fewer_bits(values: np.ndarray, data: st.DataObject, bits: int) -> None:
    axis = data.draw(st.integers(0, values.ndim - 1))
    shape = [1] * values.ndim
    shape[axis] = -1
    scale = weight_scale(values, axis, bits=bits).reshape(shape)
    assert np.abs(np.rint(values / scale)).max() <= 2 ** (bits - 1) - 1
