"""Rows of bytes give back what was packed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxcomp.training.teacher_rows import Column, Rows

shapes = st.lists(st.integers(1, 5), max_size=3).map(tuple)
columns = st.lists(st.tuples(st.sampled_from(["bool", "float32", "int64"]), shapes), min_size=1, max_size=4)


@settings(max_examples=60)
@given(columns=columns, batch=st.integers(1, 4), seed=st.integers(0, 99))
def test_unpacked_is_what_was_packed(columns, batch: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    hidden = {
        f"t{number}": (rng.integers(-9, 9, (batch, *shape)) > 0 if dtype == "bool" else
                       rng.standard_normal((batch, *shape)).astype(dtype))
        for number, (dtype, shape) in enumerate(columns)
    }  # fmt: skip
    rows = Rows.of(hidden)
    packed = rows.pack(hidden)
    assert packed.shape == (batch, rows.size)
    for name, array in rows.unpack(packed).items():
        assert array.dtype == hidden[name].dtype
        np.testing.assert_array_equal(array, hidden[name])


def test_a_boolean_takes_a_bit() -> None:
    assert Column("active", "bool", (3, 3)).size == 2
    assert Column("values", "float32", (3, 3)).size == 36
