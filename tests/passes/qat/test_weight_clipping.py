"""Weight scales of least squared error against a search through thousands of scales."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxcomp.passes.qat.scales import weight_scale


def error(rows: np.ndarray, scale: np.ndarray, bits: int) -> np.ndarray:
    """Of each row, in float64."""
    levels = 2 ** (bits - 1) - 1
    wide = scale.astype(np.float64)[:, None]
    return ((np.clip(np.rint(rows / wide), -levels, levels) * wide - rows) ** 2).sum(axis=1)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("name", ["normal", "laplace", "heavy", "uniform", "short"])
def test_no_scale_of_many_is_much_better(name: str, bits: int) -> None:
    rng = np.random.default_rng(bits)
    rows = {
        "normal": lambda: rng.standard_normal((8, 576)),
        "laplace": lambda: rng.laplace(size=(8, 576)),
        "heavy": lambda: rng.standard_t(4, (8, 576)),
        "uniform": lambda: rng.uniform(-1, 1, (8, 576)),
        "short": lambda: rng.standard_normal((64, 9)),
    }[name]().astype(np.float32)
    widest = weight_scale(rows, 0, bits=bits)
    found = error(rows, weight_scale(rows, 0, bits=bits, method="mse"), bits)
    assert (found <= error(rows, widest, bits) * (1 + 1e-6)).all()
    best = np.min([error(rows, widest * share, bits) for share in np.linspace(0.05, 1.2, 2301)], axis=0)
    # At 7 and 8 bits the error is that of rounding, which 2,301 scales find luck in.
    assert found.sum() <= best.sum() * (1.001 if bits < 6 else 1.03)
    assert (found <= best * (1.01 if bits < 6 else 1.08)).all()


@given(
    values=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=4, max_side=5),
        elements=st.floats(-1e3, 1e3, width=32),
    ),
    data=st.data(),
    bits=st.integers(2, 8),
)
def test_it_is_never_worse_than_without_clipping(values: np.ndarray, data: st.DataObject, bits: int) -> None:
    axis = data.draw(st.integers(0, values.ndim - 1))
    found, widest = (weight_scale(values, axis, bits=bits, method=method) for method in ("mse", "max"))
    assert found.dtype == np.float32
    assert found.shape == widest.shape
    assert (found > 0).all()
    rows = np.moveaxis(values, axis, 0).reshape(len(found), -1)
    # Errors are compared in float32 there: of sums of squares, 24 bits.
    slack = 1e-6 * (rows.astype(np.float64) ** 2).sum(axis=1)
    assert (error(rows, found, bits) <= error(rows, widest, bits) + slack).all()


def test_rows_are_alone_and_zeros_have_scale_one() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 2000)).astype(np.float32)
    rows[3] = 0
    rows[4] *= 1e-30
    found = weight_scale(rows, 0, bits=4, method="mse")
    assert found[3] == 1
    alone = [weight_scale(row[None], 0, bits=4, method="mse")[0] for row in rows]
    np.testing.assert_array_equal(found, np.array(alone))
    # A row's scale follows it; 24 bits.
    assert found[4] * 1e30 == pytest.approx(
        weight_scale(rows[4:5] * np.float32(1e30), 0, bits=4, method="mse")[0]
    )
