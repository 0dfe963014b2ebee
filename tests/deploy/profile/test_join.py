"""Times and layers put together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.deploy.profile.join import join
from onnxcomp.deploy.trtexec.exports.layer_times import LayerTime
from onnxcomp.deploy.trtexec.exports.layers import LayerInfo


def times(names: str) -> list[LayerTime]:
    return [LayerTime(name, None, float(index), None, None) for index, name in enumerate(names.split())]


def layers(names: str) -> list[LayerInfo]:
    return [LayerInfo(name, kind=f"k{index}") for index, name in enumerate(names.split())]


def shown(left: str, right: str) -> list[tuple[str | None, str, str]]:
    return [
        (time.name if time else None, info.name, info.kind) for time, info in join(times(left), layers(right))
    ]


def test_by_name() -> None:
    assert shown("b a", "a x b") == [("b", "b", "k2"), ("a", "a", "k0"), (None, "x", "k1")]


def test_the_same_name_twice() -> None:
    assert shown("a a a", "a a") == [("a", "a", "k0"), ("a", "a", "k1"), ("a", "a", "")]


def test_by_place_where_both_are_of_one_length() -> None:
    assert shown("a other c", "a b c") == [("a", "a", "k0"), ("other", "b", "k1"), ("c", "c", "k2")]
    assert shown("b other", "a b") == [("b", "b", "k1"), ("other", "other", ""), (None, "a", "k0")]


def test_one_side_alone() -> None:
    assert shown("a", "") == [("a", "a", "")]
    assert shown("", "a") == [(None, "a", "k0")]


@given(st.lists(st.sampled_from("abcd")), st.lists(st.sampled_from("abcd")))
def test_nothing_is_lost_or_doubled(left: list[str], right: list[str]) -> None:
    timed, infos = times(" ".join(left)), layers(" ".join(right))
    pairs = join(timed, infos)
    assert [time for time, _ in pairs if time] == timed
    assert sorted(info.kind for _, info in pairs if info.kind) == sorted(info.kind for info in infos)
