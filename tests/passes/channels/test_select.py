"""Which channels go, in what order, and what widths allow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxcomp.model import Model, from_proto
from onnxcomp.passes.channels import Dependencies, find, select
from onnxcomp.passes.channels.ids import Array
from onnxcomp.passes.channels.select import Ranking
from tests import zoo
from tests.builder import Builder, conv
from tests.passes.channels.small import classifier, numbers


def ranked(model: Model, values: np.ndarray, alignment: int) -> tuple[Dependencies, list[Ranking]]:
    dependencies = find(model.graph)
    chosen = [group for group in dependencies.groups if group.ids.size]
    return dependencies, select.rankings(dependencies, chosen, values, alignment)


def two(net: Builder, x: str) -> str:
    return conv(net, conv(net, x, "a", 3, 6), "b", 6, 8)


def test_the_least_important_go_first() -> None:
    values = np.arange(19)[::-1].astype(np.float64)
    dependencies, (a, b) = ranked(classifier(two, 8), values, 1)
    assert a.ids.tolist() == numbers(dependencies, "a.weight", 0)[::-1]
    assert b.ids.tolist() == numbers(dependencies, "b.weight", 0)[::-1]
    for ranking in (a, b):
        assert (np.diff(ranking.values) > 0).all()
        np.testing.assert_array_equal(ranking.values, values[ranking.ids])


def test_ties_are_broken_by_position() -> None:
    dependencies, (a, _) = ranked(classifier(two, 8), np.zeros(19), 1)
    assert a.ids.tolist() == numbers(dependencies, "a.weight", 0)


@pytest.mark.parametrize(
    ("alignment", "of_6", "of_8"),
    [
        (1, [0, 1, 2, 3, 4, 5, 5], [0, 1, 2, 3, 4, 5, 6, 7, 7]),
        (2, [0, 0, 2, 2, 4, 4, 4], [0, 0, 2, 2, 4, 4, 6, 6, 6]),
        (4, [0, 0, 2, 2, 2, 2, 2], [0, 0, 0, 0, 4, 4, 4, 4, 4]),
        (8, [0] * 7, [0] * 9),  # 8 is a multiple but so is nothing smaller
        (16, [0] * 7, [0] * 9),
    ],
)
def test_widths_are_multiples_or_what_they_were_and_never_0(
    alignment: int, of_6: list[int], of_8: list[int]
) -> None:
    _, (a, b) = ranked(classifier(two, 8), np.arange(19.0), alignment)
    assert (a.legal.tolist(), b.legal.tolist()) == (of_6, of_8)


def test_every_width_of_a_group_must_be_good() -> None:
    """Channels of a residual stream of 8 that three layers make, one of which makes 2 for each."""

    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 8)
        x = net.node("Add", [x, conv(net, x, "b", 8, 8)], "sum")
        return conv(net, conv(net, x, "g", 8, 8, group=2), "c", 8, 4)

    _, found = ranked(classifier(write, 4), np.arange(99.0), 4)
    stream = found[0]
    assert len(stream.ids) == 4, "the same place in both halves goes together"
    assert stream.legal.tolist() == [0, 0, 2, 2, 2], "8, then 4, never 0"


def sliced(net: Builder, x: str) -> str:
    """Of the channels 0 to 5 a branch reads 0 and 1 alone."""
    x = conv(net, x, "a", 3, 6)
    bounds = [net.constant(n, np.array([v], np.int64)) for n, v in (("s", 0), ("e", 2), ("ax", 1))]
    y = conv(net, net.node("Slice", [x, *bounds], "part"), "b", 2, 4)
    return net.node("Add", [y, conv(net, x, "c", 6, 4)], "sum")


@pytest.mark.parametrize("turned", [False, True])
def test_the_best_that_a_slice_takes_stays_whatever_it_is_worth(turned: bool) -> None:
    """And all others can go."""
    values = np.arange(99.0)[::-1] if turned else np.arange(99.0)
    dependencies, found = ranked(classifier(sliced, 4), values, 1)
    a = numbers(dependencies, "a.weight", 0)
    assert found[0].ids[-1] == (a[0] if turned else a[1])
    assert found[0].legal.tolist() == [0, 1, 2, 3, 4, 5, 5]
    assert (np.diff(found[0].values) >= 0).all()


def option_a(net: Builder, x: str) -> str:
    """A shortcut whose 16 channels are padded to the 32 of a convolution beside it."""
    x = conv(net, x, "a", 3, 16)
    pads = net.constant("pads", np.array([0, 8, 0, 0, 0, 8, 0, 0], np.int64))
    padded = net.node("Pad", [x, pads], "padded", "pad")
    return net.node("Add", [padded, conv(net, x, "b", 16, 32)], "sum")


@pytest.mark.parametrize("seed", range(4))
def test_where_widths_count_different_channels_they_go_in_blocks(seed: int) -> None:
    """8 at a time of the padded ones or of the shortcut's, the least important first."""
    values = np.random.default_rng(seed).random(99)
    dependencies, found = ranked(classifier(option_a, 32), values, 8)
    (group,) = (ranking for ranking in found if len(ranking.ids) == 32)
    assert set(group.legal.tolist()) == {0, 8, 16, 24}
    a, b = (numbers(dependencies, f"{name}.weight", 0) for name in "ab")
    for count in (8, 16, 24):
        keep = dependencies.kept(group.ids[:count].tolist())
        assert int(keep[a].sum()) in (8, 16)
        assert int(keep[b].sum()) == 32 - count
    first = [int(number) for number in group.ids[:8]]
    others = [n for n in (a if first[0] in a else sorted(set(b) - set(a))) if n not in first]
    assert max(values[first]) < min(values[others])


def table(*groups: list[float], legal: list[list[int]] | None = None) -> list[Ranking]:
    found, start = [], 0
    for index, values in enumerate(groups):
        ids = np.arange(start, start + len(values))
        start += len(values)
        allowed = np.arange(len(values) + 1) if legal is None else np.array(legal[index])
        found.append(Ranking(ids, np.array(values), allowed))
    return found


def test_below_takes_all_up_to_a_level_as_widths_allow() -> None:
    found = table([1, 2, 3], [2, 2, 9], legal=[[0, 1, 2, 2], [0, 0, 2, 2]])
    assert select.below(found, 0.5).tolist() == []
    assert select.below(found, 1).tolist() == [0]
    assert select.below(found, 2).tolist() == [0, 1, 3, 4]
    assert select.below(found, np.inf).tolist() == [0, 1, 3, 4]


def at_least(count: int) -> Callable[[Array], bool]:
    return lambda ids: len(ids) >= count


def test_smallest_is_the_first_level_that_is_enough() -> None:
    found = table([1, 3, 5], [2, 4, 6])
    for count in range(7):
        chosen = select.smallest(found, at_least(count))
        assert chosen is not None
        assert sorted(chosen.tolist()) == sorted([0, 3, 1, 4, 2, 5][:count])
    assert select.smallest(found, at_least(7)) is None


def test_infinite_values_go_first() -> None:
    found = table([-np.inf, -np.inf, 5], [2, 4, 6])
    chosen = select.smallest(found, at_least(1))
    assert chosen is not None
    assert chosen.tolist() == [0, 1]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_smallest_is_what_a_search_through_all_levels_finds(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [np.sort(rng.integers(0, 6, rng.integers(1, 6))).astype(float).tolist() for _ in range(3)]
    legal = [
        np.maximum.accumulate(np.where(rng.random(len(g) + 1) < 0.6, np.arange(len(g) + 1), 0)).tolist()
        for g in groups
    ]
    found = table(*groups, legal=legal)
    levels = [-np.inf, *sorted({value for group in groups for value in group})]
    choices = [select.below(found, level) for level in levels]
    expected = next((choice for choice in choices if len(choice) >= count), None)
    chosen = select.smallest(found, at_least(count))
    assert (chosen is None) == (expected is None)
    if chosen is not None and expected is not None:
        assert len(chosen) == len(expected)
        assert sorted(chosen.tolist()) == sorted(expected.tolist())


def test_positions_let_all_groups_give_alike() -> None:
    found = select.positions(table([5, 6], [1, 2, 3, 4]))
    assert [ranking.ids.tolist() for ranking in found] == [[0, 1], [2, 3, 4, 5]]
    np.testing.assert_allclose(found[0].values, [0.25, 0.75], atol=1e-6)
    np.testing.assert_allclose(found[1].values, [0.125, 0.375, 0.625, 0.875], atol=1e-6)
    chosen = select.smallest(found, at_least(3))
    assert chosen is not None
    assert sorted(chosen.tolist()) == [0, 2, 3]


def test_relative_values_are_multiples_of_the_groups_mean() -> None:
    found = select.relative(table([1, 3], [100, 300], [-np.inf, 4], [0, 0]))
    assert [ranking.values.tolist() for ranking in found[:3]] == [[0.5, 1.5], [0.5, 1.5], [-np.inf, 1]]
    assert np.isfinite(found[3].values).all()


@pytest.mark.parametrize("alignment", [1, 2, 4, 8])
@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet_v3", "vit"])
def test_any_level_leaves_good_widths_on_every_network(name: str, alignment: int) -> None:
    model = from_proto((zoo.ALL | zoo.MORE)[name]())
    size = find(model.graph).size
    values = np.random.default_rng(1).random(size)
    dependencies, found = ranked(model, values, alignment)
    for level in np.linspace(0, 1, 9):
        keep = dependencies.kept(select.below(found, level).tolist())
        for source in dependencies.sources:
            left = int(keep[source.ids].sum())
            assert left == len(source.ids) or (left % alignment == 0 and left > 0)
        assert all(keep[span].any() for span in dependencies.spans())
