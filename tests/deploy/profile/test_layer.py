"""Sums over layers."""

from __future__ import annotations

import pytest

from onnxcomp.deploy.profile.layer import Layer, totals_of

LAYERS = (
    Layer("c1", ms=3, share=0.3, precision="INT8", multiplies=True, sparse=True, sparse_kernel=True),
    Layer("c2", ms=2, share=0.2, precision="INT8", multiplies=True, sparse=True, sparse_kernel=False,
          float_output=True),
    Layer("c3", ms=1, share=0.1, precision="FP16", multiplies=True, sparse=False, sparse_kernel=False),
    Layer("p", ms=2, share=0.2, precision="FP32"),
    Layer("r", ms=2, share=0.2, precision="FP32 to INT8", reformat=True),
    Layer("n", precision="FP32"),
)  # fmt: skip


def test_totals() -> None:
    found = totals_of(LAYERS)
    assert found.ms == 10
    assert found.int8 == 0.5
    assert found.int8_products == pytest.approx(5 / 6)
    assert (found.reformats, found.reformats_ms, found.float_outputs) == (1, 2, 1)
    assert (found.sparse, found.sparse_kernels) == (2, 1)
    expected = {"INT8": 0.5, "FP16": 0.1, "FP32": 0.2, "reformat": 0.2}
    assert found.precisions == pytest.approx(expected)


def test_what_is_not_known_is_not_zero() -> None:
    found = totals_of([Layer("a", ms=1, share=1)])
    assert (found.int8, found.int8_products, found.sparse, found.sparse_kernels) == (None,) * 4
    assert found.precisions == {"": 1}
    assert totals_of([]).ms == 0
    assert totals_of([Layer("a", precision="INT8")]).int8 is None
