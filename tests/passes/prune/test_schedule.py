"""Schedules: their formulas, monotone, and exactly at the final share in the end."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.errors import RecipeError
from onnxcomp.passes.prune import Prune
from onnxcomp.passes.prune.schedule import KINDS, UPDATES, Cubic, Iterative, OneShot, Ramp, make

names = st.sampled_from(sorted(KINDS))


def test_cubic_is_the_formula() -> None:
    schedule = Cubic(initial=0.0, begin=100, end=500, frequency=10)
    assert schedule.sparsity(99, 0.8) == schedule.sparsity(100, 0.8) == 0.0
    assert schedule.sparsity(300, 0.8) == pytest.approx(0.8 * (1 - 0.5**3), abs=1e-12)
    assert schedule.sparsity(500, 0.8) == schedule.sparsity(10_000, 0.8) == 0.8
    risen = Cubic(initial=0.2, begin=0, end=100, frequency=10)
    assert risen.sparsity(0, 0.8) == pytest.approx(0.2, abs=1e-12)
    assert risen.sparsity(50, 0.8) == pytest.approx(0.8 - 0.6 * 0.5**3, abs=1e-12)


def test_iterative_takes_the_same_share_of_what_is_left_in_every_round() -> None:
    schedule = Iterative(initial=0.0, begin=10, end=60, frequency=10)
    left = [1 - schedule.sparsity(step, 0.9) for step in (19, 20, 30, 40, 50, 60)]
    assert left[0] == 1.0
    shares = [after / before for before, after in itertools.pairwise(left)]
    assert shares == pytest.approx([0.1**0.2] * 5, abs=1e-12)
    assert schedule.sparsity(29, 0.9) == schedule.sparsity(20, 0.9)
    due = [step for step in range(100) if schedule.is_due(step)]
    assert due == [0, 10, 20, 30, 40, 50, 60]


def test_one_shot_is_all_at_begin() -> None:
    schedule = make("one-shot", initial=0.5, begin=40, end=0.1, frequency=7, steps=100)
    assert schedule == OneShot(0.0, 40, 40, 1)
    assert [schedule.sparsity(step, 0.7) for step in (0, 39, 40, 99)] == [0, 0, 0.7, 0.7]
    assert [step for step in range(100) if schedule.is_due(step)] == [0, 40]


def test_narang_s_ramp_is_half_as_steep_again_in_its_second_half() -> None:
    schedule = Ramp(initial=0.0, begin=100, end=300, frequency=10)
    at = [schedule.relative_threshold(step) for step in range(100, 301)]
    # theta = 2 q / (2 (ramp - start) + 3 (end - ramp)) a step, table 1 of the paper, with q = 1.
    theta = 2 / (2 * 100 + 3 * 100)
    slopes = [b - a for a, b in itertools.pairwise(at)]
    assert slopes[:100] == pytest.approx([theta] * 100, abs=1e-12)
    assert slopes[100:] == pytest.approx([1.5 * theta] * 100, abs=1e-12)
    assert at[0] == schedule.relative_threshold(99) == 0
    assert at[-1] == schedule.relative_threshold(10_000) == 1
    assert schedule.sparsity(99, 0.7) == 0
    assert schedule.sparsity(100, 0.7) == 0.7


@pytest.mark.parametrize("name", ["cubic", "iterative", "one-shot"])
def test_the_others_threshold_is_where_the_share_is(name: str) -> None:
    schedule = make(name, initial=0.0, begin=0.1, end=0.5, frequency=1, steps=100)
    assert {schedule.relative_threshold(step) for step in range(100)} == {1.0}


@given(
    name=names,
    initial=st.floats(0, 0.9),
    final=st.floats(0, 0.99),
    begin=st.integers(0, 50),
    length=st.integers(0, 50),
    frequency=st.integers(1, 60),
)
def test_monotone_and_exact_from_the_last_update_on(
    name: str, initial: float, final: float, begin: int, length: int, frequency: int
) -> None:
    schedule = KINDS[name](initial, begin, begin + length, frequency)
    values = [schedule.sparsity(step, final) for step in range(120)]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(values))
    thresholds = [schedule.relative_threshold(step) for step in range(120)]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(thresholds))
    due = [step for step in range(120) if schedule.is_due(step)]
    assert due[0] == 0
    assert begin in due
    assert not [step for step in due if 0 < step < begin]
    assert due[-1] == begin + length
    assert set(values[begin + length :]) == {final}
    assert set(thresholds[begin + length :]) == {1.0}


@given(name=names, steps=st.integers(1, 300), begin=st.floats(0, 1), end=st.floats(0, 1))
def test_the_final_sparsity_is_reached_within_any_training(
    name: str, steps: int, begin: float, end: float
) -> None:
    begin, end = sorted((begin, end))
    schedule = Prune(schedule=name, begin=begin, end=end).over(steps)  # type: ignore[arg-type]
    assert schedule.end < steps
    assert schedule.is_due(schedule.end)
    assert schedule.sparsity(schedule.end, 0.7) == 0.7
    assert schedule.relative_threshold(schedule.end) == 1


def test_the_initial_sparsity_holds_from_the_first_step() -> None:
    schedule = Prune(sparsity=0.8, initial=0.3, begin=0.5, end=0.9).over(100)
    assert schedule.is_due(0)
    assert schedule.sparsity(0, 0.8) == schedule.sparsity(49, 0.8) == 0.3
    assert schedule.sparsity(0, 0.1) == 0.1  # a layer that shall have less


@pytest.mark.parametrize("name", ["cubic", "ramp"])
def test_a_short_training_prunes_in_ten_updates_all_the_same(name: str) -> None:
    schedule = Prune(schedule=name, end=0.5, frequency=20).over(40)  # type: ignore[arg-type]
    assert sum(schedule.is_due(step) for step in range(40)) >= UPDATES
    assert Prune(schedule=name, end=0.5, frequency=20).over(1000).frequency == 20  # type: ignore[arg-type]
    assert Prune(schedule="iterative", end=0.5, frequency=20).over(40).frequency == 20


def spans(steps: int, *, begin: float = 0, end: float = 0.5, frequency: float = 20) -> tuple[int, int, int]:
    found = make("cubic", initial=0.0, begin=begin, end=end, frequency=frequency, steps=steps)
    return found.begin, found.end, found.frequency


def test_numbers_up_to_one_are_shares_and_above_it_steps() -> None:
    assert spans(1000) == (0, 500, 20)
    assert spans(1000, begin=0.1, end=1.0) == (100, 999, 20)
    assert spans(1000, begin=2, end=400) == (2, 400, 20)
    assert spans(1000, begin=0.25, end=900) == (250, 900, 20)
    assert spans(1000, frequency=0.01) == (0, 500, 10)
    assert spans(1000, frequency=1) == (0, 500, 1)
    assert spans(10, frequency=0.01) == (0, 5, 1)


def test_steps_beyond_the_training_are_refused() -> None:
    with pytest.raises(RecipeError, match="end=1000: masks would end to close at step 1000 of a training of"):
        spans(1000, end=1000)
    with pytest.raises(RecipeError, match="train longer, or give a share"):
        Prune(begin=50, end=1.0).over(40)
    with pytest.raises(RecipeError, match="close from step 600 to step 500 of 1000; raise end"):
        spans(1000, begin=600)
