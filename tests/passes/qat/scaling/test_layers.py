"""Layers take factors up in their weights: what they read divides, what they make multiplies."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.model import Model, from_proto
from onnxcomp.passes.qat.scaling import find, scale
from tests import zoo
from tests.builder import Builder, conv
from tests.passes.channels.small import classifier, ending, gemm, integers
from tests.passes.qat.scaling.scaled import assert_same, changed, check, scaled


def chain(*, group: int = 1, bias: bool = True) -> Model:
    def write(net: Builder, x: str) -> str:
        x = net.node("Relu", [conv(net, x, "a", 3, 6, bias=bias)], "y")
        return conv(net, x, "b", 6, 6, group=group, bias=bias)

    return classifier(write, 6)


def test_factors_are_where_they_belong() -> None:
    model = chain()
    scaling = find(model.graph)
    (reader, _) = scaling.readers
    factors = np.ones(scaling.size)
    factors[reader.channels] = [1, 2, 4, 0.5, 3, 1]
    after = model.copy()
    scale(find(after.graph), factors)
    old, new = ({name: constant.values for name, constant in m.constants().items()} for m in (model, after))
    column = factors[reader.channels].reshape(-1, 1, 1, 1)
    # One float32 rounding each.
    np.testing.assert_allclose(new["a.weight"], old["a.weight"] * column, rtol=1e-6)
    np.testing.assert_allclose(new["a.bias"], old["a.bias"] * column.reshape(-1), rtol=1e-6)
    np.testing.assert_allclose(new["b.weight"], old["b.weight"] / column.reshape(1, -1, 1, 1), rtol=1e-6)
    assert changed(model, after) == {"a.weight", "a.bias", "b.weight"}


@pytest.mark.parametrize("group", [1, 2, 3, 6])
@pytest.mark.parametrize("bias", [True, False])
def test_groups(group: int, bias: bool) -> None:
    model = chain(group=group, bias=bias)
    assert check(model) >= {"a.weight", "b.weight", "fc.weight"}
    readers = {reader.weight.constant.name for reader in find(model.graph).readers if reader.weight}
    assert readers == ({"fc.weight"} if group == 6 else {"b.weight", "fc.weight"}), (
        "scales per channel take up what a depthwise weight is divided by"
    )


@pytest.mark.parametrize(("group", "expected"), [(1, {"a.weight", "up.weight", "fc.weight"}), (2, set())])
def test_transposed_convolution(group: int, expected: set[str]) -> None:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        weight = net.constant("up.weight", net.small(4, 6 // group, 2, 2))
        x = net.node("ConvTranspose", [x, weight], "y", "up", strides=[2, 2], group=group)
        return net.node("Relu", [x], "z")

    assert check(classifier(write, 6)) == expected


@pytest.mark.parametrize("op", ["Gemm", "transB", "MatMul", "on the left"])
def test_matrices(op: str) -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Flatten", [x], "flat")
        x = net.node("Relu", [gemm(net, x, "a", 108, 8)], "active")
        if op == "transB":
            x = net.node("Gemm", [x, net.constant("b", net.he(6, 8))], "y", transB=1, alpha=0.5)
        elif op == "Gemm":
            bias = net.constant("c", net.small(1, 6))
            x = net.node("Gemm", [x, net.constant("b", net.small(8, 6)), bias], "y", beta=2.0)
        elif op == "MatMul":
            x = net.node("MatMul", [x, net.constant("b", net.small(8, 6))], "y")
        else:
            x = net.node("Transpose", [x], "turned", perm=[1, 0])
            x = net.node("MatMul", [net.constant("b", net.small(6, 8)), x], "y")
            x = net.node("Transpose", [x], "back", perm=[1, 0])
        return gemm(net, net.node("Relu", [x], "last"), "fc", 6, 5)

    found = check(ending(write))
    if op == "on the left":
        assert found == set()
    else:
        assert found == {"a.weight", "a.bias", "b", "fc.weight"} | ({"c"} if op == "Gemm" else set())


def test_tokens() -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Reshape", [conv(net, x, "a", 3, 4), integers(net, "shape", 0, 4, 36)], "rows")
        x = net.node("Transpose", [x], "tokens", perm=[0, 2, 1])
        x = net.node("MatMul", [x, net.constant("b", net.small(4, 6))], "wide")
        x = net.node("Add", [x, net.constant("c", net.small(6))], "biased")
        return gemm(net, net.node("ReduceMean", [x], "mean", axes=[1], keepdims=0), "fc", 6, 5)

    assert check(ending(write)) == {"a.weight", "b", "c", "fc.weight"}


def test_a_weight_that_two_layers_share_is_left_alone() -> None:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        weight = net.constant("shared", net.he(4, 4, 1, 1))
        for name in ("first", "second"):
            x = net.node("Conv", [x, weight], name)
        return net.node("Relu", [x], "y")

    assert check(classifier(write, 4)) == set()


def test_a_bias_that_two_layers_share_is_left_alone() -> None:
    def write(net: Builder, x: str) -> str:
        bias = net.constant("bias", net.small(4))
        for name, width in (("a", 3), ("b", 4)):
            x = net.node("Conv", [x, net.constant(name, net.he(4, width, 1, 1)), bias], f"{name}.y")
        return x

    assert check(classifier(write, 4)) == set()


def test_a_computed_weight_keeps_channels() -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("GlobalAveragePool", [conv(net, x, "a", 3, 4)], "pooled")
        kernel = net.node("Reshape", [x, integers(net, "shape", 2, 2, 1, 1)], "kernel")
        other = conv(net, "input", "other", 3, 2)
        return net.node("Conv", [other, kernel], "y")

    assert check(classifier(write, 2, batch=1)) == set()


def test_weights_behind_masks() -> None:
    model = pipeline.apply(from_proto(zoo.densenet()), recipe.parse("prune"))
    rng = np.random.default_rng(0)
    for mask in graphs.masks(model.graph).values():
        mask.values = (rng.random(mask.values.shape) < 0.5).astype(np.float32)
    after = scaled(model)
    assert_same(model, after)
    names = changed(model, after)
    assert "features.denseblock1.denselayer1.conv1.weight" in names
    assert not names & {mask.name for mask in graphs.masks(model.graph).values()}
