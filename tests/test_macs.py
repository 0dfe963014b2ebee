"""Multiply-accumulates by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp import recipe as recipes
from onnxcomp.macs import macs, total
from onnxcomp.model import Model, from_proto
from tests import run, zoo
from tests.builder import Builder, conv
from tests.passes.channels.small import CLASSES, classifier, ending, gemm, integers


def first(model: Model) -> int | None:
    """Of the first weighted operator."""
    return macs(next(graphs.weights(model.graph)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 36 * 4 * 3 * 9),
        ({"kernel": 1}, 36 * 4 * 3),
        ({"stride": 2}, 9 * 4 * 3 * 9),
        ({"bias": True}, 36 * 4 * 3 * 9),  # a bias multiplies nothing
    ],
)
def test_convolutions(options: dict[str, Any], expected: int) -> None:
    model = classifier(lambda net, x: conv(net, x, "a", 3, 4, **options), 4)
    assert first(model) == expected
    assert total(model.graph) == expected + 4 * CLASSES


@pytest.mark.parametrize(("group", "expected"), [(1, 36 * 6 * 6 * 9), (2, 36 * 6 * 3 * 9), (6, 36 * 6 * 9)])
def test_grouped_convolutions(group: int, expected: int) -> None:
    model = classifier(lambda net, x: conv(net, conv(net, x, "a", 3, 6), "g", 6, 6, group=group), 6)
    assert macs(list(graphs.weights(model.graph))[1]) == expected


@pytest.mark.parametrize("group", [1, 2, 3])
def test_transposed_convolutions_spread_each_input(group: int) -> None:
    """Each of 36 x 6 inputs meets 4 outputs in its group, 2 x 2 times."""

    def write(net: Builder, x: str) -> str:
        inputs = [conv(net, x, "a", 3, 6), net.constant("t", net.he(6, 4, 2, 2))]
        return net.node("ConvTranspose", inputs, "up", "up", group=group, strides=[2, 2])

    model = classifier(write, 4 * group)
    assert macs(list(graphs.weights(model.graph))[1]) == 36 * 6 * 4 * 4


def test_linear_layers() -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Flatten", [x], "flat")
        x = net.node("Gemm", [x, net.constant("w", net.he(108, 7))], "hidden", "hidden")
        return gemm(net, x, "fc", 7, CLASSES)

    assert total(ending(write).graph) == 108 * 7 + 7 * CLASSES


@pytest.mark.parametrize("left", [False, True])
def test_products_of_tokens(left: bool) -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Reshape", [x, integers(net, "tokens", 0, 36, 3)], "flat")
        weight = net.constant("w", net.he(5, 36) if left else net.he(3, 5))
        x = net.node("MatMul", [weight, x] if left else [x, weight], "y")
        return net.node("Unsqueeze", [x, integers(net, "last", 3)], "image")

    assert first(classifier(write, 5 if left else 36)) == (5 * 36 * 3 if left else 36 * 3 * 5)


def test_a_batch_of_matrices() -> None:
    def write(net: Builder, x: str) -> str:
        return net.node("MatMul", [x, net.constant("w", net.he(3, 6, 4))], "y")

    assert first(classifier(write, 3)) == 3 * 6 * 6 * 4


def test_a_fixed_batch_and_zeros_do_not_matter() -> None:
    model = from_proto(zoo.resnet())
    expected = total(model.graph)
    assert total(from_proto(zoo.resnet(batch=4)).graph) == expected
    for constant in model.constants().values():
        constant.values = np.zeros_like(constant.values)
    assert total(model.graph) == expected


@pytest.mark.parametrize("name", zoo.ALL)
def test_masks_q_dq_and_the_teacher_are_no_work(name: str) -> None:
    model = from_proto(zoo.ALL[name]())
    recipe = recipes.parse("prune{keep_first=false keep_last=false},qat,distill")
    done = pipeline.apply(model, recipe, calibration=run.Observed())
    assert total(done.graph) == total(model.graph)


def test_an_unknown_size_is_none() -> None:
    model = classifier(lambda net, x: conv(net, x, "a", 3, 4), 4)
    model.image.shape = ["N", 3, "h", "w"]
    for node in model.graph.nodes:
        for tensor in node.outputs:
            tensor.shape = [tensor.shape[0], tensor.shape[1], *["any"] * (len(tensor.shape) - 2)]
    assert first(model) is None
    assert total(model.graph) is None


def test_sizes_given_come_before_the_tensors_own() -> None:
    model = classifier(lambda net, x: conv(net, x, "a", 3, 4), 4)
    weight = next(graphs.weights(model.graph))
    assert macs(weight, {weight.node.outputs[0].name: (1, 4, 2, 3)}) == 4 * 6 * 27
    assert macs(weight, {}) is None
