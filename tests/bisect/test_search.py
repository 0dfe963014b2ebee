from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.bisect.search import Budget, first_position, smallest


@given(st.integers(1, 3000), st.data())
def test_the_position_is_found_in_as_few_trials_as_there_are_bits(count: int, data: st.DataObject) -> None:
    turn = data.draw(st.integers(1, count))
    asked: list[int] = []

    def lost(position: int) -> bool:
        asked.append(position)
        return position >= turn

    assert first_position(count, lost) == turn
    assert len(asked) <= max(count - 1, 1).bit_length()


@given(st.lists(st.integers(0, 1), min_size=2, max_size=60).filter(lambda ends: ends[-1] == 1))
def test_where_it_turns_more_than_once_one_of_the_places_is_found(ends: list[int]) -> None:
    states = [0, *ends]
    found = first_position(len(ends), lambda position: bool(states[position]))
    assert states[found] == 1
    assert states[found - 1] == 0


sets = st.integers(1, 40).flatmap(
    lambda count: st.tuples(
        st.permutations(range(count)), st.sets(st.integers(0, count - 1), min_size=1, max_size=4)
    )
)


@given(sets)
def test_the_culprits_are_found_and_nothing_else(case: tuple[list[int], set[int]]) -> None:
    suspects, culprits = case
    budget = Budget(10_000)
    found, minimal = smallest(suspects, lambda chosen: culprits <= set(chosen), budget)
    assert set(found) == culprits
    assert found == [one for one in suspects if one in culprits]
    assert minimal


@given(sets, st.integers(0, 12))
def test_a_small_budget_is_kept_and_the_set_still_cures(
    case: tuple[list[int], set[int]], trials: int
) -> None:
    suspects, culprits = case
    budget, asked = Budget(trials), 0

    def cured(chosen: Sequence[int]) -> bool:
        nonlocal asked
        asked += 1
        return culprits <= set(chosen)

    found, minimal = smallest(suspects, cured, budget)
    assert asked <= trials
    assert culprits <= set(found)
    assert not minimal or set(found) == culprits or len(found) == 1


def test_one_that_is_most_suspect_takes_one_trial() -> None:
    asked: list[list[str]] = []

    def cured(chosen: Sequence[str]) -> bool:
        asked.append(list(chosen))
        return "bad" in chosen

    assert smallest(["bad", *"abcdefgh"], cured, Budget(50)) == (["bad"], True)
    assert asked == [["bad"]]
