"""Two profiles side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onnxcomp.deploy.profile.compare import Change, Comparison, compare
from onnxcomp.deploy.profile.layer import Layer, totals_of
from onnxcomp.deploy.profile.profile import FORMAT, Conditions, Profile
from tests.deploy.profile.network import profile


def made(*layers: Layer, **conditions: str) -> Profile:
    return Profile(FORMAT, Conditions(**conditions), None, layers, totals_of(layers))  # type: ignore[arg-type]


def layer(name: str, nodes: str, ms: float | None, precision: str = "FP32") -> Layer:
    held = tuple(nodes.split())
    return Layer(name, ms=ms, nodes=held, main=held[0] if held else "", precision=precision)


def times(found: Comparison) -> dict[str, tuple[float | None, float | None]]:
    return {change.name: (change.before.ms, change.after.ms) for change in found.changes}


def test_layers_that_hold_the_same_nodes() -> None:
    found = compare(
        made(layer("conv + relu", "conv relu", 5), layer("fc", "fc", 1)),
        made(layer("w + Q + conv + relu", "Q conv relu", 2, "INT8"), layer("fc2", "fc", 3)),
    )
    assert times(found) == {"conv": (5, 2), "fc": (1, 3)}
    conv, fc = found.changes
    assert (conv.saved, conv.nodes, fc.saved) == (3, ("conv", "relu"), -2)
    assert (conv.before.precision, conv.after.precision) == ("FP32", "INT8")
    assert (conv.before.layers, conv.after.layers) == (("conv + relu",), ("w + Q + conv + relu",))


def test_other_fusions_are_grouped() -> None:
    found = compare(
        made(layer("1", "a b", 1), layer("2", "c d", 2), layer("3", "e", 4)),
        made(layer("4", "a", 0.5), layer("5", "b c", 0.25), layer("6", "d", 0.125), layer("7", "e", 3)),
    )
    assert times(found) == {"a": (3, 0.875), "e": (4, 3)}
    assert found.changes[0].nodes == ("a", "b", "c", "d")


def test_a_node_before_two_layers_does_not_tie_them() -> None:
    side = made(
        layer("1", "DQ conv1", 1), layer("2", "DQ conv2", 2), layer("3", "soft", 4), layer("4", "soft", 8)
    )
    found = compare(side, made(layer("5", "DQ conv1", 3), layer("6", "DQ conv2", 5), layer("7", "soft", 6)))
    assert {change.before.layers: change.after.ms for change in found.changes} == {
        ("1",): 3,
        ("2",): 5,
        ("3", "4"): 6,
    }


def test_reformats_and_layers_without_nodes() -> None:
    copies = (Layer("r1", ms=1, reformat=True), Layer("r2", ms=2, reformat=True))
    found = compare(
        made(*copies, layer("same", "", 4)), made(Layer("r3", ms=0.5, reformat=True), layer("same", "", 3))
    )
    assert times(found) == {"reformats": (3, 0.5), "same": (4, 3)}


def test_what_is_on_one_side_alone_comes_last() -> None:
    found = compare(
        made(layer("a", "a", 9), layer("b", "b", 1), layer("n", "n", None)),
        made(layer("b", "b", 1.5), layer("n", "n", None)),
    )
    assert [(change.name, change.saved, change.nodes) for change in found.changes] == [
        ("b", -0.5, ("b",)),
        ("a", None, ()),
    ]
    said = "9.000 ms before and 0.000 ms after are in layers that the other profile does not have"
    assert found.notes == (said,)


def test_other_conditions_are_said() -> None:
    found = compare(made(gpu="Xavier", power="MAXN"), made(gpu="Orin"))
    assert found.notes[:2] == (
        "different GPUs: Xavier and Orin",
        "different power modes: MAXN and not known",
    )
    assert compare(made(layer("a", "a", 1)), made(layer("a", "a", 1))).notes == ()
    assert "names no ONNX nodes" in compare(made(layer("a", "", 1)), made(layer("a", "a", 1))).notes[0]


@pytest.mark.parametrize("version", ["8.5", "8.6", "10", "11"])
def test_a_profile_with_itself(version: str) -> None:
    one = profile(version)
    found = compare(one, one)
    assert {change.saved for change in found.changes} == {0}
    assert found.throughput[0] == found.throughput[1] != 0
    assert found.notes == ()


def test_versions_that_fuse_differently() -> None:
    old, new = profile("8.5"), profile("10")
    found = compare(old, new)
    assert times(found)["conv1"] == pytest.approx((0.08, 0.046))  # one layer with the pooling, then two
    assert sum(change.saved or 0 for change in found.changes) == pytest.approx(old.totals.ms - new.totals.ms)
    named = {change.name: change for change in found.changes}
    assert set(named) == {"conv1", "conv2", "conv3", "reformats", "x.Q", "mean", "fc", "scale"}
    assert isinstance(named["conv1"], Change)
    assert found.gpu == pytest.approx((0.17977, 0.094947), rel=1e-4)


def test_it_does_not_depend_on_the_order_of_layers() -> None:
    old, new = profile("8.5"), profile("10")
    backwards = replace(old, layers=tuple(reversed(old.layers)))
    one, other = times(compare(backwards, new)), times(compare(old, new))
    assert one.keys() == other.keys()
    assert all(one[name] == pytest.approx(other[name]) for name in one)
