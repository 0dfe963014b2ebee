from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.errors import OnnxcompError
from onnxcomp.parity.interval import paired_drop


def answers(both: int, lost: int, won: int, none: int) -> tuple[np.ndarray, np.ndarray]:
    """Which images each network gets right."""
    first = np.repeat([True, True, False, False], [both, lost, won, none])
    second = np.repeat([True, False, True, False], [both, lost, won, none])
    return first, second


def test_the_example_of_the_paper() -> None:
    """Newcombe 1998, Statistics in Medicine 17:2635, table II, 36, 12, 2 and 0 of 50: 0.0569 to 0.3404."""
    found = paired_drop(*answers(36, 12, 2, 0))
    assert (found.points, found.lost, found.won, found.count) == (20.0, 12, 2, 50)
    # four published digits
    assert found.low == pytest.approx(5.69, abs=0.005)
    assert found.high == pytest.approx(34.04, abs=0.005)


def test_equal_answers_leave_little_room_where_images_are_many() -> None:
    found = paired_drop(*answers(7641, 0, 0, 2359))
    assert found.points == 0
    assert -0.05 < found.low < 0 < found.high < 0.05


counts = st.integers(0, 300)


@given(counts, counts, counts, counts)
def test_the_interval_holds_the_drop_and_turns_with_the_networks(
    both: int, lost: int, won: int, none: int
) -> None:
    if both + lost + won + none == 0:
        return
    first, second = answers(both, lost, won, none)
    found, turned = paired_drop(first, second), paired_drop(second, first)
    # rounding of float64
    assert -100 - 1e-9 <= found.low <= found.points + 1e-9
    assert found.points - 1e-9 <= found.high <= 100 + 1e-9
    assert found.points == pytest.approx(100 * (lost - won) / len(first), abs=1e-9)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-9)
    wide = paired_drop(first, second, 99)
    assert wide.low <= found.low + 1e-9
    assert wide.high >= found.high - 1e-9


@pytest.mark.parametrize(
    "shares", [(0.75, 0.02, 0.01, 0.22), (0.9, 0.005, 0.005, 0.09), (0.6, 0.1, 0.05, 0.25)]
)
@pytest.mark.parametrize("count", [200, 2000])
def test_the_true_drop_is_inside_as_often_as_it_says(shares: tuple[float, ...], count: int) -> None:
    """2,000 draws: a deviation of 0.5 points. Where few images tell the networks apart it is cautious."""
    rng = np.random.default_rng(0)
    draws = rng.multinomial(count, shares, 2000)
    true = 100 * (shares[1] - shares[2])
    inside = 0
    for draw in draws:
        found = paired_drop(*answers(*draw))
        inside += found.low <= true <= found.high
    assert 0.935 < inside / len(draws) <= (1 if count == 200 else 0.985)


@pytest.mark.parametrize("confidence", [0, 100, -5, 120])
def test_a_confidence_out_of_range_is_refused(confidence: float) -> None:
    with pytest.raises(OnnxcompError, match="is no confidence"):
        paired_drop(np.ones(3, bool), np.ones(3, bool), confidence)
