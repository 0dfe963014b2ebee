"""Channels that nobody reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from onnxcomp.model import Model, from_proto
from onnxcomp.passes.channels import find
from onnxcomp.passes.channels.dead import cut_dead, dead
from tests import classifiers, run, zoo
from tests.builder import Builder, bn_relu, conv
from tests.passes.channels.small import check, classifier, half, numbers, zeroed


def fresh(name: str) -> Model:
    return from_proto((zoo.ALL | zoo.MORE)[name]())


NETWORKS: dict[str, Callable[[], Model]] = {
    **{name: partial(fresh, name) for name in zoo.ALL | zoo.MORE},
    "resnet18": classifiers.NETWORKS["resnet18"],
}


def chain(net: Builder, x: str) -> str:
    x = bn_relu(net, conv(net, x, "a", 3, 8), "norm", 8)
    return conv(net, conv(net, x, "b", 8, 6), "c", 6, 4)


def silence(model: Model, name: str, axis: int, positions: list[int]) -> None:
    constant = model.constants()[name]
    values = constant.values.copy()
    np.moveaxis(values, axis, 0)[positions] = 0
    constant.values = values


def widths(model: Model) -> list[int]:
    return [c.values.shape[0] for name, c in model.constants().items() if name in ("a.weight", "b.weight")]


def assert_same(model: Model, before: Model) -> None:
    check(model)
    images = run.images(before)
    expected = run.logits(before, images)
    np.testing.assert_allclose(
        run.logits(model, images), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_what_was_zeroed_is_cut_and_answers_stay(name: str) -> None:
    model = NETWORKS[name]()
    gone = half(model)
    silent = zeroed(model, find(model.graph), gone)
    result = silent.copy()
    assert cut_dead(result, 1) == len(gone)
    assert_same(result, silent)
    assert cut_dead(result, 1) == 0


def test_a_channel_without_readers_goes_whatever_it_is() -> None:
    """The weights that make it are not 0, nor is what BatchNormalization adds."""
    model = classifier(chain, 4)
    before = model.copy()
    silence(model, "b.weight", 1, [2, 3, 7])
    found = find(model.graph)
    a = numbers(found, "a.weight", 0)
    assert np.flatnonzero(dead(model, found)).tolist() == [a[2], a[3], a[7]]
    silent = model.copy()
    assert cut_dead(model, 1) == 3
    assert widths(model) == [5, 6]
    assert_same(model, silent)
    assert widths(before) == [8, 6]


def test_a_channel_that_is_made_of_zeros_but_read_stays() -> None:
    """Its BatchNormalization may add something."""
    model = classifier(chain, 4)
    silence(model, "a.weight", 0, [2])
    assert cut_dead(model, 1) == 0


def test_all_readers_must_be_silent() -> None:
    def two(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 8)
        return net.node("Add", [conv(net, x, "b", 8, 4), conv(net, x, "c", 8, 4)], "sum")

    model = classifier(two, 4)
    silence(model, "b.weight", 1, [0, 1])
    silence(model, "c.weight", 1, [1, 2])
    assert cut_dead(model, 1) == 1
    assert model.constants()["a.weight"].values.shape[0] == 7


def test_what_is_sliced_off_goes_too() -> None:
    """No weight reads channels 5 to 7 of a."""

    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 8)
        bounds = [net.constant(f"slice.{i}", np.array([v], np.int64)) for i, v in enumerate((0, 5, 1))]
        return conv(net, net.node("Slice", [x, *bounds], "five"), "b", 5, 4)

    model = classifier(write, 4)
    before = model.copy()
    assert cut_dead(model, 1) == 3
    assert model.constants()["a.weight"].values.shape[0] == 5
    assert_same(model, before)


def test_what_only_removed_channels_read_goes_too() -> None:
    """Channel 5 of a is read by channel 0 of b alone, which nobody reads."""
    model = classifier(chain, 4)
    silence(model, "c.weight", 1, [0])
    values = model.constants()["b.weight"].values.copy()
    values[1:, 5] = 0
    model.constants()["b.weight"].values = values
    silent = model.copy()
    assert cut_dead(model, 1) == 2
    assert widths(model) == [7, 5]
    assert_same(model, silent)


@pytest.mark.parametrize(("alignment", "left"), [(1, 3), (2, 4), (4, 4), (8, 8)])
def test_widths_stay_multiples(alignment: int, left: int) -> None:
    """5 of 8 are dead; what is dead but cannot go stays and computes as before."""
    model = classifier(chain, 4)
    silence(model, "b.weight", 1, [0, 2, 3, 5, 6])
    silent = model.copy()
    assert cut_dead(model, alignment) == 8 - left
    assert widths(model) == [left, 6]
    assert_same(model, silent)


def test_one_channel_is_left_where_all_are_dead() -> None:
    model = classifier(chain, 4)
    silence(model, "b.weight", 1, list(range(8)))
    silent = model.copy()
    assert cut_dead(model, 1) == 7
    assert_same(model, silent)


def test_dead_logits_stay() -> None:
    model = classifier(chain, 4)
    silence(model, "fc.weight", 0, [0, 1])
    assert cut_dead(model, 1) == 0
