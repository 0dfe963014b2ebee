"""Conv, ConvTranspose, Gemm and MatMul."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.passes.channels import find
from onnxcomp.passes.channels.dead import cut_dead
from tests import run
from tests.builder import Builder, conv
from tests.passes.channels.small import (
    CLASSES,
    after,
    classifier,
    ending,
    gemm,
    half,
    integers,
    numbers,
    reasons,
    summary,
)


@pytest.mark.parametrize("each", [1, 2])
def test_depthwise_convolutions_pass_channels_through(each: int) -> None:
    def write(net: Builder, x: str) -> str:
        return conv(net, conv(net, x, "a", 3, 4), "d", 4, 4 * each, group=4, bias=True)

    model = classifier(write, 4 * each)
    assert summary(model) == {("a.weight",): 4, ("fc.weight",): 0}
    found = find(model.graph)
    a = numbers(found, "a.weight", 0)
    assert numbers(found, "d.weight", 0) == numbers(found, "d.bias", 0) == np.repeat(a, each).tolist()
    assert 1 not in found.constants["d.weight"]
    after(model, half(model))


def test_a_depthwise_convolution_of_the_image_has_no_channels() -> None:
    model = classifier(lambda net, x: conv(net, conv(net, x, "d", 3, 6, group=3), "b", 6, 4), 4)
    assert summary(model) == {("b.weight",): 4, ("fc.weight",): 0}


def test_groups_of_a_convolution_stay_equal() -> None:
    """The same place in each group goes together, of what is read and of what is made."""

    def write(net: Builder, x: str) -> str:
        return conv(net, conv(net, conv(net, x, "a", 3, 8), "g", 8, 6, group=2, bias=True), "b", 6, 4)

    model = classifier(write, 4)
    assert summary(model) == {("a.weight",): 4, ("g.weight",): 3, ("b.weight",): 4, ("fc.weight",): 0}
    found = find(model.graph)
    a, g = numbers(found, "a.weight", 0), numbers(found, "g.weight", 0)
    assert a[:4] == a[4:] == numbers(found, "g.weight", 1)
    assert g[:3] == g[3:]
    result = after(model, [a[0], a[3], g[1]])
    assert result.constants()["g.weight"].values.shape == (4, 2, 3, 3)
    assert result.constants()["a.weight"].values.shape == (4, 3, 3, 3)


def test_groups_that_read_the_image_and_other_channels_keep_all() -> None:
    def write(net: Builder, x: str) -> str:
        y = conv(net, x, "a", 3, 3)
        return conv(net, net.node("Concat", [x, y], "both", axis=1), "g", 6, 4, group=2)

    model = classifier(write, 4)
    assert reasons(model)["a.weight"] == "Conv /g/Conv reads them in groups"


@pytest.mark.parametrize("transposed", [False, True])
def test_gemm(transposed: bool) -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Flatten", [x], "flat")
        values = net.he(6, 108) if transposed else net.he(6, 108).T
        inputs = [x, net.constant("w", values), net.constant("bias", net.small(6))]
        x = net.node("Gemm", inputs, "hidden", "hidden", transB=int(transposed))
        return gemm(net, x, "fc", 6, CLASSES)

    model = ending(write)
    found = find(model.graph)
    assert numbers(found, "w", 0 if transposed else 1) == numbers(found, "fc.weight", 1)
    assert numbers(found, "bias", 0) == numbers(found, "fc.weight", 1)
    after(model, half(model))


def test_gemm_with_a_bias_for_all_or_of_a_row() -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Flatten", [x], "flat")
        for name, width, bias in (("one", 6, np.float32(0.5)), ("row", 4, net.small(1, 4))):
            inputs = 108 if name == "one" else 6
            given = [x, net.constant(name, net.he(inputs, width)), net.constant(f"{name}.b", np.array(bias))]
            x = net.node("Gemm", given, f"{name}.out", name)
        return gemm(net, x, "fc", 4, CLASSES)

    model = ending(write)
    assert summary(model) == {("one",): 6, ("row",): 4, ("fc.weight",): 0}
    assert "one.b" not in find(model.graph).constants
    after(model, half(model))


def test_gemm_of_two_activations_keeps_both() -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Flatten", [x], "flat")
        a = gemm(net, x, "a", 108, CLASSES)
        b = net.node("Reshape", [gemm(net, x, "b", 108, 25), integers(net, "square", 5, 5)], "table")
        return net.node("Gemm", [a, b], "product", "product")

    reason = "Gemm product has a computed weight or a transposed input"
    assert reasons(ending(write, batch=1)) == {"a.weight": reason, "b.weight": reason}


def rows(net: Builder, x: str) -> str:
    """(N, 4, 36): the channels of ``a`` and its pixels."""
    return net.node("Reshape", [conv(net, x, "a", 3, 4), integers(net, "flat", 0, 4, 36)], "rows")


def image(net: Builder, x: str) -> str:
    return net.node("Unsqueeze", [x, integers(net, "last", 3)], "image")


def test_matmul_with_the_weight_on_the_left_sums_over_the_last_axis_but_one() -> None:
    def write(net: Builder, x: str) -> str:
        return image(net, net.node("MatMul", [net.constant("w", net.he(6, 4)), rows(net, x)], "mixed"))

    model = classifier(write, 6)
    assert summary(model) == {("a.weight",): 4, ("w",): 6, ("fc.weight",): 0}
    found = find(model.graph)
    assert numbers(found, "w", 1) == numbers(found, "a.weight", 0)
    assert numbers(found, "fc.weight", 1) == numbers(found, "w", 0)
    after(model, half(model))


def test_matmul_with_the_weight_on_the_right_sums_over_the_last_axis() -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Transpose", [rows(net, x)], "tokens", perm=[0, 2, 1])
        x = net.node("MatMul", [x, net.constant("w", net.he(4, 6))], "mixed")
        x = net.node("Add", [net.constant("bias", net.small(6)), x], "sum")
        return image(net, net.node("Transpose", [x], "back", perm=[0, 2, 1]))

    model = classifier(write, 6)
    assert summary(model) == {("a.weight",): 4, ("w",): 6, ("fc.weight",): 0}
    found = find(model.graph)
    assert numbers(found, "w", 0) == numbers(found, "a.weight", 0)
    assert numbers(found, "w", 1) == numbers(found, "bias", 0) == numbers(found, "fc.weight", 1)
    after(model, half(model))


def test_matmul_over_pixels_keeps_the_channels() -> None:
    """As in an MLP-Mixer: a product over another axis than the channels'."""

    def write(net: Builder, x: str) -> str:
        x = net.node("MatMul", [rows(net, x), net.constant("w", net.he(36, 7))], "mixed", "mix")
        return image(net, x)

    model = classifier(write, 4)
    assert reasons(model)["a.weight"] == "MatMul mix reads them along another axis"
    assert summary(model)[("w",)] == 0, "GlobalAveragePool sums over them"


def computed(net: Builder, x: str) -> str:
    """A convolution whose kernel the image decides."""
    x = conv(net, x, "a", 3, 4)
    kernel = net.node(
        "Reshape",
        [
            net.node("GlobalAveragePool", [conv(net, x, "b", 4, 8)], "pool"),
            integers(net, "kernel", 2, 4, 1, 1),
        ],
        "weight",
    )
    return net.node("Conv", [x, kernel], "dynamic", "dynamic")


def test_a_computed_weight_keeps_what_it_reads_and_is_made_of() -> None:
    model = classifier(computed, 2, batch=1)
    assert {name: reason for name, reason in reasons(model).items() if name != "fc.weight"} == {
        "a.weight": "Conv dynamic has a computed weight",
        "b.weight": "Conv dynamic has a computed weight",
    }


def test_a_computed_bias_keeps_both() -> None:
    def write(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 4)
        pool = net.node("GlobalAveragePool", [conv(net, x, "b", 4, 6)], "pool")
        bias = net.node("Reshape", [pool, integers(net, "flat", 6)], "bias")
        return net.node("Conv", [x, net.constant("w", net.he(6, 4, 1, 1)), bias], "made", "made")

    model = classifier(write, 6, batch=1)
    assert reasons(model)["w"] == "input 2 of Conv made is computed"
    assert reasons(model)["b.weight"] == "input 2 of Conv made is computed"
    assert summary(model)[("a.weight",)] == 4
    after(model, half(model))


def product(net: Builder, x: str) -> str:
    """Attention over channels (XCA-like): tokens are summed over, channels make the table."""
    x = net.node("Reshape", [conv(net, x, "a", 3, 4), integers(net, "flat", 0, 4, 36)], "rows")
    y = net.node("Transpose", [x], "columns", perm=[0, 2, 1])
    table = net.node("MatMul", [x, y], "table.out", "table")
    return net.node("Unsqueeze", [net.node("MatMul", [table, x], "mixed"), integers(net, "last", 3)], "image")


def test_a_table_of_channels_by_channels_keeps_them() -> None:
    assert reasons(classifier(product, 4))["a.weight"] == "MatMul table makes a table of them"


def summed(net: Builder, x: str) -> str:
    """q k^T of one head, and what else reads q."""
    q, k = (conv(net, x, name, 3, 4, kernel=1, bias=True) for name in "qk")
    parts = []
    for name, y, perm in (("q", q, [0, 2, 1]), ("k", k, [0, 1, 2])):
        y = net.node("Reshape", [y, integers(net, f"{name}.flat", 0, 4, 36)], f"{name}.rows")
        parts.append(net.node("Transpose", [y], f"{name}.side", perm=perm))
    x = net.node("MatMul", parts, "scores", "scores")
    x = net.node("Reshape", [x, integers(net, "image", 0, 36, 6, 6)], "pixels")
    return net.node("Add", [conv(net, x, "c", 36, 4), conv(net, q, "d", 4, 4)], "both")


def test_what_a_product_sums_over_is_kept() -> None:
    """No weight reads them that would tell what they are worth."""
    found = reasons(classifier(summed, 4))
    assert found["q.weight"] == found["k.weight"] == "MatMul scores sums over products of them"


def test_what_a_product_sums_over_is_not_dead_where_other_readers_are() -> None:
    model = classifier(summed, 4)
    constants = model.constants()
    constants["d.weight"].values = np.zeros_like(constants["d.weight"].values)
    before = model.copy()
    assert cut_dead(model, 1) == 0
    images = run.images(before)
    np.testing.assert_array_equal(run.logits(model, images), run.logits(before, images))


def test_a_product_with_a_fixed_operand_keeps_what_it_sums_over() -> None:
    def write(net: Builder, x: str) -> str:
        image = net.node("Reshape", [x, integers(net, "pixels", 0, 36, 3)], "fixed")
        y = conv(net, x, "q", 3, 3, kernel=1)
        y = net.node("Reshape", [y, integers(net, "flat", 0, 3, 36)], "rows")
        y = net.node("MatMul", [image, y], "product.out", "product")
        y = net.node("Reshape", [y, integers(net, "image", 0, 36, 6, 6)], "back")
        return conv(net, y, "c", 36, 4)

    model = classifier(write, 4)
    assert reasons(model)["q.weight"] == "MatMul product sums over products of them"
