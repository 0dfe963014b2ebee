"""Concat, Split, Slice, Gather, Reshape, Transpose, Expand, Pad, Resize, Shape; what each refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from onnx import TensorProto, helper

from onnxcomp.passes.channels import find
from onnxcomp.passes.channels.rules.move import integers as listed
from onnxcomp.passes.channels.rules.move import slices
from tests.builder import Builder, conv
from tests.passes.channels.small import Write, after, classifier, half, integers, numbers, reasons, summary


def test_lists_come_from_attributes_or_constants() -> None:
    node = gs.Node("Op", attrs={"axes": [1, 2], "axis": 3})
    node.inputs = [gs.Variable("x"), gs.Constant("c", np.array([4, 5])), gs.Variable("computed")]
    assert listed(node, 5, "axes") == [1, 2]
    assert listed(node, 5, "axis") == [3]
    assert listed(node, 1) == [4, 5]
    assert listed(node, 2) is None
    assert listed(node, 3) is None


LAST = 2**63 - 1


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (([1], [3]), {0: slice(1, 3, 1)}),
        (([1, -2], [LAST, LAST], [2, -1]), {2: slice(1, LAST, 1), 3: slice(-2, LAST, 1)}),
        (([8], [-(2**63)], [1], [-2]), {1: slice(8, None, -2)}),
        (([8], [-9], [1], [-1]), {1: slice(8, -9, -1)}),
    ],
)
def test_what_a_slice_takes(given: tuple[list[int], ...], taken: dict[int, slice]) -> None:
    inputs = [gs.Constant(f"i{index}", np.array(values)) for index, values in enumerate(given)]
    assert slices(gs.Node("Slice", inputs=[gs.Variable("x"), *inputs]), 4) == taken


@pytest.mark.parametrize("computed", [1, 2, 3, 4])
def test_a_computed_slice_is_not_known(computed: int) -> None:
    inputs: list[gs.Tensor] = [gs.Variable("x")]
    inputs += [gs.Constant(f"i{index}", np.array([1])) for index in range(1, 5)]
    inputs[computed] = gs.Variable("computed")
    assert slices(gs.Node("Slice", inputs=inputs), 4) is None


def test_concat_along_other_axes_couples_its_inputs() -> None:
    def write(net: Builder, x: str) -> str:
        parts = [conv(net, x, "a", 3, 4), conv(net, x, "b", 3, 4)]
        return net.node("Concat", parts, "tall", "tall", axis=2)

    model = classifier(write, 4)
    assert summary(model) == {("a.weight", "b.weight"): 4, ("fc.weight",): 0}
    after(model, half(model))


def test_concat_with_a_constant() -> None:
    """Beside channels it is followed, along channels it stays."""

    def beside(net: Builder, x: str) -> str:
        border = net.constant("border", net.he(1, 4, 2, 6))
        return net.node("Concat", [conv(net, x, "a", 3, 4), border], "tall", axis=2)

    def along(net: Builder, x: str) -> str:
        fixed = net.constant("fixed", net.he(1, 2, 6, 6))
        return net.node("Concat", [fixed, conv(net, x, "a", 3, 4)], "wide", axis=1)

    model = classifier(beside, 4, batch=1)
    found = find(model.graph)
    assert numbers(found, "border", 1) == numbers(found, "a.weight", 0)
    after(model, half(model))
    model = classifier(along, 6, batch=1)
    found = find(model.graph)
    assert "fixed" not in found.constants
    assert numbers(found, "fc.weight", 1) == [-1, -1, *numbers(found, "a.weight", 0)]
    after(model, half(model))


def kept(write: Write, width: int, **options: Any) -> str:
    """Why ``a.weight`` is kept."""
    return reasons(classifier(write, width, **options))["a.weight"]


def test_computed_positions_are_refused() -> None:
    def gather(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        score = net.node("Flatten", [net.node("GlobalAveragePool", [x], "pool")], "flat")
        net.nodes.append(
            helper.make_node("TopK", [score, integers(net, "two", 2)], ["best", "at"], "best", axis=1)
        )
        at = net.node("Reshape", ["at", integers(net, "vector", 2)], "positions")
        return net.node("Gather", [x, at], "taken", "gather", axis=1)

    assert kept(gather, 2, batch=1) == "nothing is known of TopK best"

    def slice_(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        shape = net.node("Shape", ["input"], "shape", "shape")
        start = net.node("Slice", [shape, integers(net, "three", 3), integers(net, "four", 4)], "six")
        start = net.node("Sub", [start, integers(net, "five", 4)], "two")
        ends = [integers(net, "end", 4), integers(net, "one", 1)]
        return net.node("Slice", [x, start, *ends], "taken", "slice")

    assert kept(slice_, 2, batch=1) == "Slice slice is not understood"


def test_reflected_and_negative_padding_is_refused() -> None:
    def write(net: Builder, x: str, mode: str, before: int) -> str:
        x = conv(net, x, "a", 3, 4)
        pads = integers(net, "pads", 0, before, 0, 0, 0, 2, 0, 0)
        return net.node("Pad", [x, pads], "padded", "pad", mode=mode)

    assert kept(lambda net, x: write(net, x, "reflect", 1), 7) == "Pad pad is not understood"
    assert kept(lambda net, x: write(net, x, "constant", -1), 5) == "Pad pad is not understood"


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_padding_of_pixels_concerns_no_channel(mode: str) -> None:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        return net.node("Pad", [x, integers(net, "pads", 0, 0, 1, 0, 0, 0, 2, -1)], "padded", mode=mode)

    model = classifier(write, 4)
    assert summary(model) == {("a.weight",): 4, ("fc.weight",): 0}
    after(model, half(model))


def test_padded_channels_of_a_shortcut_meet_those_they_are_added_to() -> None:
    """ResNet's option A: 4 channels become 8, the new ones couple with the block's own."""

    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        y = conv(net, x, "b", 4, 8)
        x = net.node("Pad", [x, integers(net, "pads", 0, 2, 0, 0, 0, 2, 0, 0)], "padded", "pad")
        return net.node("Add", [x, y], "sum")

    model = classifier(write, 8)
    found = find(model.graph)
    (group,) = (g for g in found.groups if g.ids.size)
    assert (set(group.members), len(group.ids)) == ({"a.weight", "b.weight", "pad"}, 8)
    assert numbers(found, "b.weight", 0)[2:6] == numbers(found, "a.weight", 0)
    after(model, half(model))


def test_resizing_along_channels_is_refused() -> None:
    def write(net: Builder, x: str) -> str:
        factors = net.constant("factors", np.array([1, 2, 1, 1], np.float32))
        return net.node("Resize", [conv(net, x, "a", 3, 4), "", factors], "large", "resize", mode="nearest")

    assert kept(write, 8) == "Resize resize mixes them"


def test_a_table_of_indices_keeps_channels() -> None:
    def write(net: Builder, x: str) -> str:
        at = net.constant("at", np.array([[0, 1], [2, 3]]))
        x = net.node("Gather", [conv(net, x, "a", 3, 4), at], "table", "gather", axis=1)
        return net.node("Reshape", [x, integers(net, "flat", 0, 4, 6, 6)], "image")

    assert "gather" in kept(write, 4)


def counted(net: Builder, x: str, axis: int) -> str:
    """Divided by how many there are along an axis."""
    x = conv(net, x, "a", 3, 4)
    inputs = [net.node("Shape", [x], "shape"), net.constant("axis", np.array(axis))]
    size = net.node("Cast", [net.node("Gather", inputs, "n", "n")], "number", to=TensorProto.FLOAT)
    return net.node("Div", [x, size], "scaled")


@pytest.mark.parametrize("axis", [1, -3])
def test_who_asks_how_many_channels_there_are_keeps_them(axis: int) -> None:
    reason = kept(lambda net, x: counted(net, x, axis), 4)
    assert reason == "Gather n reads how many there are"


def test_who_asks_for_another_size_does_not() -> None:
    model = classifier(lambda net, x: counted(net, x, 2), 4)
    assert summary(model) == {("a.weight",): 4, ("fc.weight",): 0}
    after(model, half(model))


def test_an_operator_that_no_rule_knows_keeps_channels() -> None:
    def write(net: Builder, x: str) -> str:
        return net.node("LRN", [conv(net, x, "a", 3, 4)], "normal", "lrn", size=3)

    assert kept(write, 4) == "nothing is known of LRN lrn"


def test_channels_that_become_pixels_are_kept() -> None:
    """DepthToSpace by hand: 4 channels of one pixel become one channel of 4."""

    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        x = net.node("Reshape", [x, integers(net, "apart", 0, 1, 2, 2, 6, 6)], "parts")
        x = net.node("Transpose", [x], "turned", perm=[0, 1, 4, 2, 5, 3])
        x = net.node("Reshape", [x, integers(net, "together", 0, 1, 12, 12)], "image", "image")
        return conv(net, x, "b", 1, 4)

    assert kept(write, 4) == "Conv /b/Conv reads them along another axis"
