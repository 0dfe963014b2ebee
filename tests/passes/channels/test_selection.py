"""How much goes: shares of channels and of work, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxcomp.model import Model, from_proto
from onnxcomp.passes.channels import find, scores, select
from onnxcomp.passes.channels.selection import Selection, Wanted
from tests import classifiers, zoo
from tests.builder import Builder, conv
from tests.passes.channels.small import classifier, numbers

NETWORKS = ["densenet", "resnet", "mobilenet", "vgg", "mobilenet_v3"]


def selection(model: Model, **options: Any) -> Selection:
    wanted = {"macs": None, "sparsity": 0.5, "allocation": "global", "relative": True, "alignment": 1}
    dependencies = find(model.graph)
    chosen = [group for group in dependencies.groups if group.ids.size]
    return Selection(model.graph, dependencies, chosen, Wanted(**{**wanted, **options}))


def network(name: str) -> Model:
    return from_proto((zoo.ALL | zoo.MORE)[name]())


def magnitude(chooser: Selection, model: Model) -> np.ndarray:
    return scores.magnitude(model.graph, chooser.dependencies)


def chosen(chooser: Selection, values: np.ndarray, *args: Any) -> np.ndarray:
    found = chooser.choose(values, *args)
    assert found is not None
    return found


@pytest.mark.parametrize("share", [0.1, 0.37, 0.5, 0.8])
@pytest.mark.parametrize("name", NETWORKS)
def test_sparsity_is_the_share_of_channels_that_goes(name: str, share: float) -> None:
    """At least that, and one channel at most too many: values differ, and widths are free."""
    model = network(name)
    chooser = selection(model, sparsity=share)
    values = np.random.default_rng(0).random(chooser.dependencies.size)
    count, every = len(chosen(chooser, values)), sum(len(group.ids) for group in chooser.chosen)
    assert share * every <= count < share * every + 1


@pytest.mark.parametrize("alignment", [1, 4])
@pytest.mark.parametrize("target", [0.75, 0.5, 0.3])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_work_is_reached_and_the_next_smaller_choice_does_not(
    name: str, target: float, alignment: int
) -> None:
    model = network(name)
    chooser = selection(model, macs=target, alignment=alignment)
    values = magnitude(chooser, model)
    found = chooser.choose(values)
    if found is None:
        assert (name, alignment, target) == ("vgg", 4, 0.3), "its widths are 8, 12 and 16"
        return
    left = chooser.work.left(chooser.dependencies.kept(found.tolist()))
    assert left <= target * chooser.total
    every = sum(len(group.ids) for group in chooser.chosen)
    fewer = (len(found) - 0.5) / every  # as many channels as it takes, and not one less
    assert len(chosen(selection(model, sparsity=fewer, alignment=alignment), values)) == len(found)
    ranked = select.relative(select.rankings(chooser.dependencies, chooser.chosen, values, alignment))
    last = max(ranking.values[np.isin(ranking.ids, found)].max(initial=0) for ranking in ranked)
    less = select.below(ranked, np.nextafter(last, 0))
    assert len(less) < len(found)
    assert chooser.work.left(chooser.dependencies.kept(less.tolist())) > target * chooser.total


@pytest.mark.parametrize("options", [{}, {"macs": 0.4}, {"allocation": "uniform"}, {"alignment": 4}])
@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet"])
def test_choices_are_nested(name: str, options: dict[str, Any]) -> None:
    """What has gone at 0.3 and 0.7 of the way is gone at the end, whatever scores say in between."""
    model = network(name)
    chooser = selection(model, **options)
    gone: np.ndarray | None = None
    rng = np.random.default_rng(0)
    for progress in (0.0, 0.3, 0.7, 1.0):
        values = rng.random(chooser.dependencies.size)
        found = chosen(chooser, values, progress, gone)
        if gone is not None:
            assert set(gone.tolist()) <= set(found.tolist())
        if progress == 0:
            assert not found.size
        gone = found
    assert gone is not None
    assert gone.size


def test_values_given_are_not_changed() -> None:
    model = network("resnet")
    chooser = selection(model)
    values = magnitude(chooser, model)
    before = values.copy()
    chosen(chooser, values, 0.5, chosen(chooser, values, 0.2))
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("name", NETWORKS)
def test_uniform_takes_the_same_share_of_each_group(name: str) -> None:
    model = network(name)
    chooser = selection(model, allocation="uniform", sparsity=0.5)
    found = chosen(chooser, magnitude(chooser, model))
    for group in chooser.chosen:
        gone = np.isin(group.ids, found).sum()
        assert abs(gone - 0.5 * len(group.ids)) <= 1


def test_uniform_takes_the_least_of_each_group() -> None:
    model = network("densenet")
    chooser = selection(model, allocation="uniform", sparsity=0.25)
    values = np.random.default_rng(0).random(chooser.dependencies.size)
    found = chosen(chooser, values)
    for group in chooser.chosen:
        gone = np.isin(group.ids, found)
        assert values[group.ids[gone]].max() < values[group.ids[~gone]].min()


def test_global_takes_the_least_of_all() -> None:
    """Without ``relative`` one level parts what goes from what stays."""
    model = network("densenet")
    chooser = selection(model, relative=False)
    values = np.random.default_rng(0).random(chooser.dependencies.size)
    found = chosen(chooser, values)
    every = np.concatenate([group.ids for group in chooser.chosen])
    kept = np.setdiff1d(every, found)
    assert values[found].max() < values[kept].min()


def test_relative_scores_let_no_layer_pay_for_its_scale() -> None:
    def two(net: Builder, x: str) -> str:
        return conv(net, conv(net, x, "a", 3, 8), "b", 8, 8)

    model = classifier(two, 8)
    values = np.random.default_rng(0).random(selection(model).dependencies.size)
    plain = chosen(selection(model), values)
    a = numbers(selection(model).dependencies, "a.weight", 0)
    values[a] *= 1000
    assert sorted(chosen(selection(model), values).tolist()) == sorted(plain.tolist())
    assert not set(a) & set(chosen(selection(model, relative=False, sparsity=0.4), values).tolist())


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_alignment_holds_on_wider_networks(name: str) -> None:
    model = classifiers.NETWORKS[name]()
    chooser = selection(model, alignment=8, macs=0.6)
    keep = chooser.dependencies.kept(chosen(chooser, magnitude(chooser, model)).tolist())
    changed = 0
    for source in chooser.dependencies.sources:
        left = int(keep[source.ids].sum())
        assert left == len(source.ids) or (left % 8 == 0 and left > 0)
        changed += left != len(source.ids)
    assert changed


def test_out_of_reach_is_none() -> None:
    model = network("resnet")  # of widths 12 and 24
    chooser = selection(model, macs=0.5, alignment=16)
    assert chooser.choose(magnitude(chooser, model)) is None
