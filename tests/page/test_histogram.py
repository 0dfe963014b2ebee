"""How values lie, in a few bins."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.observed import Observed
from onnxcomp.page import histogram


def test_zeros_are_left_out() -> None:
    found = histogram.of_values(np.array([[0.0, 0.0, -2.0], [1.0, 0.0, 1.0]], np.float32))
    assert found is not None
    assert (found.low, found.high, found.limit) == (-2.0, 1.0, 2.0)
    assert sum(found.counts) == 3
    assert found.counts[0] == 1
    assert found.quantiles[1] == 1.0
    assert max(found.heights) == 1.0
    assert found.heights[0] == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("values", [[0.0, 0.0], [], [1.0, np.nan], [np.inf]])
def test_nothing_to_show(values: list[float]) -> None:
    assert histogram.of_values(np.array(values, np.float32)) is None


def test_what_calibration_saw_is_the_same_picture() -> None:
    values = np.random.default_rng(0).normal(0, 1, 20_000).astype(np.float32)
    seen = Observed()
    seen.add(values)
    one, other = histogram.of_observed(seen), histogram.of_values(values)
    assert one is not None
    assert other is not None
    assert (one.low, one.high, one.limit) == (other.low, other.high, other.limit)
    # Bins of 2 / 4096 of the reach on one side: their middles move a value by half of that at most.
    np.testing.assert_allclose(one.quantiles, other.quantiles, atol=2 * 8 / 4096)
    np.testing.assert_allclose(one.counts, other.counts, atol=0.01 * len(values))


def test_the_zeros_of_a_relu_are_left_out_too() -> None:
    seen = Observed()
    seen.add(np.concatenate([np.zeros(1000), np.full(10, 0.5), np.full(10, 1.0)]).astype(np.float32))
    found = histogram.of_observed(seen)
    assert found is not None
    assert sum(found.counts) == 20
    assert found.quantiles[-1] == found.high == 1.0
    assert histogram.of_observed(Observed()) is None
