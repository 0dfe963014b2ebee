"""The cubic schedule."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.passes.prune import Prune
from onnxcomp.passes.prune.schedule import CubicSchedule


def test_values_of_the_formula() -> None:
    schedule = CubicSchedule(initial=0.0, final=0.8, begin=100, end=500, frequency=10)
    assert schedule.sparsity(99) == 0.0
    assert schedule.sparsity(100) == 0.0
    assert schedule.sparsity(300) == pytest.approx(0.8 * (1 - 0.5**3), abs=1e-12)
    assert schedule.sparsity(500) == schedule.sparsity(10_000) == 0.8


@given(
    initial=st.floats(0, 0.9),
    rise=st.floats(0, 0.09),
    begin=st.integers(0, 50),
    length=st.integers(0, 50),
    frequency=st.integers(1, 20),
)
def test_monotone_and_last_update_at_the_end(
    initial: float, rise: float, begin: int, length: int, frequency: int
) -> None:
    schedule = CubicSchedule(initial, initial + rise, begin, begin + length, frequency)
    values = [schedule.sparsity(step) for step in range(120)]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(values))
    due = [step for step in range(120) if schedule.is_due(step)]
    assert due[0] == 0
    assert begin in due
    assert not [step for step in due if 0 < step < begin]
    assert due[-1] == begin + length
    assert schedule.sparsity(due[-1]) == initial + rise


@given(steps=st.integers(1, 300), begin=st.floats(0, 1), end=st.floats(0, 1))
def test_the_final_sparsity_is_reached_within_any_training(steps: int, begin: float, end: float) -> None:
    begin, end = sorted((begin, end))
    schedule = Prune(sparsity=0.7, begin=begin, end=end).schedule(steps)
    assert schedule.end < steps
    assert schedule.is_due(schedule.end)


def test_the_initial_sparsity_holds_from_the_first_step() -> None:
    schedule = Prune(sparsity=0.8, initial=0.3, begin=0.5, end=0.9).schedule(100)
    assert schedule.is_due(0)
    assert schedule.sparsity(0) == schedule.sparsity(49) == 0.3


def test_a_short_training_prunes_in_ten_updates_all_the_same() -> None:
    schedule = Prune(sparsity=0.8, end=0.5, frequency=20).schedule(40)
    assert sum(schedule.is_due(step) for step in range(40)) >= 10
    assert Prune(end=0.5, frequency=20).schedule(1000).frequency == 20
