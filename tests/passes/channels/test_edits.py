"""What nodes say about channels after a cut, by hand; numbers are checked by :func:`small.after`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from onnx import helper

from onnxcomp.model import Model
from onnxcomp.passes.channels import find
from onnxcomp.passes.channels.edits import renumbered
from tests.builder import Builder, conv
from tests.passes.channels.small import after, classifier, integers, node, numbers, ops


def without(model: Model, positions: Collection[int], name: str = "a.weight") -> Model:
    """The network after these outputs of a layer are cut."""
    channels = numbers(find(model.graph), name, 0)
    return after(model, [channels[position] for position in positions])


def values(model: Model, op: str, index: int = 1) -> Any:
    return node(model, op).inputs[index].values.tolist()


def test_depthwise_convolutions_have_as_many_groups_as_inputs() -> None:
    def depthwise(net: Builder, x: str, each: int = 1) -> str:
        x = conv(net, conv(net, x, "a", 3, 6), "d", 6, 6 * each, group=6, bias=True)
        return conv(net, x, "b", 6 * each, 4)

    for each in (1, 2):
        result = without(classifier(partial(depthwise, each=each), 4), [0, 3])
        assert [n.attrs["group"] for n in result.graph.nodes if n.op == "Conv"] == [1, 4, 1]
        assert result.constants()["d.weight"].values.shape == (4 * each, 1, 3, 3)
        assert result.constants()["b.weight"].values.shape == (4, 4 * each, 3, 3)


@pytest.mark.parametrize("group", [1, 2, 6])
def test_transposed_convolutions(group: int) -> None:
    def transposed(net: Builder, x: str) -> str:
        weight, bias = net.constant("t", net.he(6, 4, 2, 2)), net.constant("bias", net.small(4 * group))
        x = conv(net, x, "a", 3, 6)
        return net.node("ConvTranspose", [x, weight, bias], "up", "up", group=group, strides=[2, 2])

    model = classifier(transposed, 4 * group)
    result = without(model, [1])
    left = {1: (5, 4), 2: (4, 4), 6: (5, 4)}[group]  # in two groups its counterpart goes too
    assert result.constants()["t"].values.shape[:2] == left
    assert node(result, "ConvTranspose").attrs["group"] == (5 if group == 6 else group)
    found = find(model.graph)
    if group < 6:
        made = after(model, [numbers(found, "t", 1)[2]])
        assert made.constants()["t"].values.shape[:2] == (6, 3)
        assert made.constants()["bias"].values.shape == (3 * group,)


def parts(sizes: Sequence[int], given: bool, opset: int, axis: int = 1) -> Model:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, sum(sizes))
        inputs = [x, integers(net, "sizes", *sizes)] if given else [x]
        outputs = [f"part{index}" for index in range(len(sizes))]
        count: dict[str, Any] = {"num_outputs": len(sizes)} if opset >= 18 and not given else {}
        net.nodes.append(helper.make_node("Split", inputs, outputs, "split", axis=axis, **count))
        swapped = [
            conv(net, part, f"{part}.conv", size, 2) for part, size in zip(outputs, sizes, strict=True)
        ]
        return net.node("Concat", swapped[::-1], "swapped", axis=1)

    return classifier(write, 2 * len(sizes), opset=opset)


@pytest.mark.parametrize("axis", [1, -3])
@pytest.mark.parametrize("opset", [13, 18])
def test_split(opset: int, axis: int) -> None:
    result = without(parts((2, 3, 4), True, opset, axis), [1, 5, 6])
    assert values(result, "Split") == [1, 3, 2]
    result = without(parts((3, 3), False, opset, axis), [1, 5, 4])
    assert values(result, "Split") == [2, 1]
    assert "num_outputs" not in node(result, "Split").attrs


def test_parts_along_another_axis_stay() -> None:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        net.nodes.append(
            helper.make_node("Split", [x, integers(net, "rows", 2, 4)], ["top", "rest"], "split", axis=2)
        )
        return net.node("Concat", ["rest", "top"], "turned", axis=2)

    result = without(classifier(write, 4), [2])
    assert values(result, "Split") == [2, 4]


def sliced(starts: list[int], ends: list[int], axes: list[int], steps: list[int], *, width: int) -> Model:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 9)
        lists = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
        inputs = [x, *(integers(net, name, *given) if given else "" for name, given in lists.items())]
        while inputs[-1] == "":
            inputs.pop()
        y = net.node("Slice", inputs, "taken", "slice")
        y = net.node("GlobalAveragePool", [conv(net, y, "b", width, 4)], "small")
        return net.node("Add", [y, conv(net, x, "c", 9, 4)], "sum")

    return classifier(write, 4)


Bounds = tuple[list[int], list[int], list[int], list[int]]
LAST, FIRST = 2**63 - 1, -(2**63)


@pytest.mark.parametrize(
    ("given", "width", "gone", "start", "end"),
    [
        (([2], [7], [1], []), 5, [0, 3, 8], 1, 5),
        (([2], [7], [-3], [1]), 5, [2, 6], 2, 5),
        (([-3], [LAST], [1], []), 3, [0, 7], 5, 7),
        (([0, 2], [LAST, 5], [], []), 3, [1, 2], 1, 3),
        (([1], [9], [1], [2]), 4, [0, 2, 4, 6], 0, 4),  # of every second one, when those between are gone
        (([7], [FIRST], [1], [-7]), 2, [0, 1, 2, 3, 4, 5, 6], 0, 1),
    ],
)
def test_a_slice_that_stays_one(given: Bounds, width: int, gone: list[int], start: int, end: int) -> None:
    result = without(sliced(*given, width=width), gone)
    at = values(result, "Slice", 3).index(1)
    assert (values(result, "Slice", 1)[at], values(result, "Slice", 2)[at]) == (start, end)
    assert set(values(result, "Slice", 4)) == {1}
    assert "Gather" not in ops(result)


@pytest.mark.parametrize(
    ("given", "width", "gone", "positions"),
    [
        (([1], [9], [1], [2]), 4, [0, 5], [0, 2, 5]),  # 1, 3 and 7
        (([8], [FIRST], [1], [-2]), 5, [1, 4], [6, 4, 1, 0]),  # 8, 6, 2 and 0
        (([0, 8], [LAST, -10], [0, 1], [1, -1]), 9, [0, 1, 2, 3, 4, 5], [2, 1, 0]),
    ],
)
def test_a_slice_whose_step_no_longer_fits(
    given: Bounds, width: int, gone: list[int], positions: list[int]
) -> None:
    result = without(sliced(*given, width=width), gone)
    assert values(result, "Gather") == positions
    assert node(result, "Gather").attrs["axis"] == 1


def test_what_else_a_slice_takes_stays() -> None:
    result = without(sliced([1, -6, 2], [LAST, 5, 7], [3, 2, 1], [2, 1, 1], width=5), [3])
    starts, ends, axes, steps = (values(result, "Slice", index) for index in (1, 2, 3, 4))
    found = {a: (s, e, t) for a, s, e, t in zip(axes, starts, ends, steps, strict=True)}
    assert found == {1: (2, 6, 1), 2: (-6, 5, 1), 3: (1, LAST, 2)}


def test_renumbered() -> None:
    stays = np.array([True, False, True, True, False])
    assert renumbered(np.array([4, 3, 1, 0, 3]), stays).tolist() == [2, 0, 2]


def gathered(indices: list[int] | int, dtype: type = np.int64) -> Model:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 6)
        y = net.node("Gather", [x, net.constant("at", np.array(indices, dtype))], "taken", "gather", axis=-3)
        if isinstance(indices, int):
            y = net.node("Unsqueeze", [y, integers(net, "axis", 1)], "back")
        y = net.node("GlobalAveragePool", [conv(net, y, "b", np.size(indices), 4)], "small")
        return net.node("Add", [y, conv(net, x, "c", 6, 4)], "sum")

    return classifier(write, 4)


@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_gather(dtype: type) -> None:
    """Indices may repeat and count from the end."""
    model = gathered([5, 0, 0, -2], dtype)
    assert values(without(model, [0]), "Gather") == [4, 3]
    assert values(without(model, [1, 5]), "Gather") == [0, 0, 3]
    assert values(without(model, [1, 2]), "Gather") == [3, 0, 0, 2]


def test_gather_of_one_channel_keeps_its_rank() -> None:
    result = without(gathered(4), [0, 2])
    assert node(result, "Gather").inputs[1].values.shape == ()
    assert values(result, "Gather") == 2


@pytest.mark.parametrize(
    ("shape", "gone", "expected"),
    [
        ([0, 4, 36], [1], [0, 3, 36]),
        ([0, -1, 36], [1], [0, -1, 36]),
        ([0, 0, 36], [1], [0, 3, 36]),
        ([-1, 4, 36], [0, 2], [-1, 2, 36]),
    ],
)
def test_reshape(shape: list[int], gone: list[int], expected: list[int]) -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Reshape", [conv(net, x, "a", 3, 4), integers(net, "shape", *shape)], "flat", "flat")
        x = net.node("Relu", [x], "relu")
        return net.node("Unsqueeze", [x, integers(net, "last", -1)], "image")

    result = without(classifier(write, 4), gone)
    assert values(result, "Reshape") == expected


def test_reshape_to_a_vector_a_position() -> None:
    """Channels of 3 x 3 pixels each, flattened: 9 positions a channel."""

    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        x = net.node("Reshape", [x, integers(net, "shape", 0, 144)], "flat", "flat")
        return net.node("Reshape", [x, integers(net, "back", 0, 4, 6, 6)], "image", "image")

    result = without(classifier(write, 4), [2])
    shapes = [n.inputs[1].values.tolist() for n in result.graph.nodes if n.op == "Reshape"]
    assert shapes == [[0, 108], [0, 3, 6, 6]]


def test_expand() -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("GlobalAveragePool", [conv(net, x, "a", 3, 4)], "pool")
        x = net.node("Expand", [x, integers(net, "wide", 1, 4, 3, 3)], "wide.out", "wide")
        return net.node("Expand", [x, integers(net, "same", 3, 3)], "same.out", "same")

    result = without(classifier(write, 4), [0])
    shapes = [n.inputs[1].values.tolist() for n in result.graph.nodes if n.op == "Expand"]
    assert shapes == [[1, 3, 3, 3], [3, 3]]


@pytest.mark.parametrize("value", [None, 1.5])
@pytest.mark.parametrize("axes", [(), (1, 2)])
def test_pad(axes: tuple[int, ...], value: float | None) -> None:
    """Padding along channels makes channels of its own, which hold the padded value and may go too."""

    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        amounts = (2, 1, 3, 0) if axes else (0, 2, 1, 0, 0, 3, 0, 1)
        inputs = [x, integers(net, "pads", *amounts)]
        inputs.append("" if value is None else net.constant("value", np.array(value, np.float32)))
        inputs += [integers(net, "axes", *axes)] if axes else []
        while inputs[-1] == "":
            inputs.pop()
        return conv(net, net.node("Pad", inputs, "padded", "pad"), "b", 9, 4)

    model = classifier(write, 4, opset=18)
    found = find(model.graph)
    read = numbers(found, "b.weight", 1)
    assert read[2:6] == numbers(found, "a.weight", 0)
    assert len(set(read)) == 9
    result = after(model, [read[0], read[3], read[7], read[8]])
    # 2 before become 1, 3 after become 1; along the rows nothing changes.
    assert values(result, "Pad") == ([1, 1, 1, 0] if axes else [0, 1, 1, 0, 0, 1, 0, 1])
    assert result.constants()["b.weight"].values.shape == (4, 5, 3, 3)


@pytest.mark.parametrize("axes", [None, [1, 2, 3]])
def test_resize_to_sizes(axes: list[int] | None) -> None:
    def write(net: Builder, x: str) -> str:
        sizes = integers(net, "sizes", *([2] if axes is None else []), 4, 12, 9)
        chosen = {} if axes is None else {"axes": axes}
        inputs = [conv(net, x, "a", 3, 4), "", "", sizes]
        return net.node("Resize", inputs, "large", "resize", mode="nearest", **chosen)

    result = without(classifier(write, 4, opset=18, batch=2), [1])
    assert values(result, "Resize", 3) == [*([2] if axes is None else []), 3, 12, 9]


def test_resize_by_factors_stays() -> None:
    def write(net: Builder, x: str) -> str:
        factors = net.constant("factors", np.array([1, 1, 2, 2], np.float32))
        inputs = [conv(net, x, "a", 3, 4), "", factors]
        return net.node("Resize", inputs, "large", "resize", mode="linear")

    assert values(without(classifier(write, 4), [1]), "Resize", 2) == [1, 1, 2, 2]
