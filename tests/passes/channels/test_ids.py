"""Sets of channels that go together."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.passes.channels.ids import FIXED, Ids


def test_numbers_follow_one_another() -> None:
    ids = Ids()
    assert ids.fresh(3).tolist() == [0, 1, 2]
    assert ids.fresh(0).tolist() == []
    assert ids.fresh(2).tolist() == [3, 4]
    assert ids.fresh(1).dtype == np.int64


def test_joined_numbers_have_one_root_and_shapes_broadcast() -> None:
    ids = Ids()
    a, b = ids.fresh(4), ids.fresh(2)
    ids.join(a.reshape(2, 2), b.reshape(1, 2), "")
    assert ids.roots(np.concatenate([a, b])).tolist() == [0, 1, 0, 1, 0, 1]


def test_fixed_stays_fixed_and_keeps_what_it_meets() -> None:
    ids = Ids()
    a = ids.fresh(2)
    assert ids.roots(np.array([[FIXED, 1]])).tolist() == [[FIXED, 1]]
    ids.join(a, np.array([FIXED, a[1]]), "meets a fixed one")
    assert [ids.reason(int(number)) for number in a] == ["meets a fixed one", ""]


def test_the_first_reason_stands_and_is_that_of_all_that_are_joined() -> None:
    ids = Ids()
    a, b, c = (ids.fresh(1) for _ in range(3))
    ids.keep(b, "first")
    ids.keep(b, "second")
    ids.join(a, b, "third")
    ids.join(c, a, "fourth")
    assert [ids.reason(int(number[0])) for number in (a, b, c)] == ["first"] * 3


def test_a_reason_given_before_joining_is_not_lost_on_either_side() -> None:
    for kept in (0, 1):
        ids = Ids()
        pair = [ids.fresh(1), ids.fresh(1)]
        ids.keep(pair[kept], "kept")
        ids.join(pair[0], pair[1], "")
        assert [ids.reason(int(number[0])) for number in pair] == ["kept", "kept"]


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11))))
def test_roots_are_the_connected_components(pairs: list[tuple[int, int]]) -> None:
    ids = Ids()
    every = ids.fresh(12)
    component = list(range(12))
    for a, b in pairs:
        ids.join(np.array([a]), np.array([b]), "")
        old, new = component[b], component[a]
        component = [new if label == old else label for label in component]
    roots = ids.roots(every)
    for a in range(12):
        for b in range(12):
            assert (roots[a] == roots[b]) == (component[a] == component[b])
