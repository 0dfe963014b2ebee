from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxcomp.deploy import qdq
from onnxcomp.integers import scale_integers

FACTORS = st.floats(-8, 8, width=32).filter(lambda value: value == 0 or abs(value) > 1e-6)


@settings(max_examples=200)
@given(
    arrays.arrays(np.float32, (5, 3, 2), elements=st.floats(-4, 4, width=32)),
    arrays.arrays(np.float64, 5, elements=FACTORS),
)
def test_folding_keeps_the_integers_up_to_sign(weights: np.ndarray, factor: np.ndarray) -> None:
    """q(w f, s |f|) == sign(f) q(w, s), and the folded float weight gives back exactly that."""
    largest = np.abs(weights).max((1, 2))
    scale = np.where(largest > 1e-3, largest / 127, 1).astype(np.float32)
    integers = qdq.quantize(weights, scale, 0)
    folded, folded_scale = scale_integers(integers, scale, factor, 0)
    assert np.array_equal(folded, integers * np.sign(factor).astype(np.int8)[:, None, None])
    assert np.all(folded_scale > 0)
    assert folded_scale.dtype == np.float32
    assert np.array_equal(folded_scale[factor == 0], scale[factor == 0])
    on_grid = qdq.dequantize(folded, folded_scale, 0)
    assert np.array_equal(qdq.quantize(on_grid, folded_scale, 0), folded)
    # Quantizing the folded float weight itself differs only where w / s is within rounding of a tie.
    direct = qdq.quantize((weights * factor[:, None, None]).astype(np.float32), folded_scale, 0)
    steps = weights.astype(np.float64) / scale[:, None, None]
    tie = np.abs(np.abs(steps - np.floor(steps)) - 0.5) < 1e-4
    assert np.array_equal(direct[~tie], folded[~tie])
    assert np.abs(direct.astype(int) - folded).max() <= 1


def test_a_vanishing_factor_gives_integer_0_and_keeps_the_scale() -> None:
    integers = np.full((3, 2), 100, np.int8)
    scale = np.array([0.5, 0.25, 0.125], np.float32)
    folded, scales = scale_integers(integers, scale, np.array([0.0, -1e-45, 2.0]), 0)
    assert folded.tolist() == [[0, 0], [0, 0], [100, 100]]
    assert scales.tolist() == [0.5, 0.25, 0.25]
