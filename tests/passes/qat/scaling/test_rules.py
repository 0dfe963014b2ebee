"""Which operators let a scaled channel pass: the layers on both sides change and the answers stay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from onnxcomp.model import Model
from onnxcomp.passes.qat.scaling.rules import HOMOGENEOUS, RULES
from tests.builder import Builder, batch_norm, conv
from tests.passes.channels.small import classifier, ending, gemm, integers
from tests.passes.qat.scaling.scaled import check

Write = Callable[[Builder, str], str]


def between(middle: Write, *, opset: int = 17, width: int = 4) -> Model:
    """Conv a (3 -> 4), ``middle``, Conv b, a head."""

    def write(net: Builder, x: str) -> str:
        x = middle(net, conv(net, x, "a", 3, 4, bias=True))
        return conv(net, x, "b", width, 5)

    return classifier(write, 5, opset=opset)


PASSED = {"a.weight", "a.bias", "b.weight", "fc.weight"}
STOPPED = {"b.weight", "fc.weight"}


def one(op: str, *constants: float, **attributes: object) -> Write:
    def write(net: Builder, x: str) -> str:
        more = [net.constant(f"k{i}", np.array(value, np.float32)) for i, value in enumerate(constants)]
        return net.node(op, [x, *more], "y", "middle", **attributes)

    return write


@pytest.mark.parametrize("op", HOMOGENEOUS)
def test_homogeneous_operators(op: str) -> None:
    middle = one(op, 0.3) if op == "PRelu" else one(op)
    assert check(between(middle)) == PASSED


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh", "HardSwish", "Elu", "Softplus", "Erf", "Softmax"])
def test_other_activations_keep_channels(op: str) -> None:
    assert check(between(one(op))) == STOPPED


@pytest.mark.parametrize(
    ("bounds", "expected"), [((), PASSED), ((0.0,), PASSED), ((0.0, 6.0), STOPPED), ((-1.0,), STOPPED)]
)
def test_clip_is_a_relu_where_its_only_bound_is_zero(bounds: tuple[float, ...], expected: set[str]) -> None:
    assert check(between(one("Clip", *bounds))) == expected


POOLING = {"kernel_shape": [2, 2], "strides": [2, 2]}


@pytest.mark.parametrize(
    "middle",
    [
        one("MaxPool", **POOLING),
        one("AveragePool", **POOLING, pads=[1, 1, 1, 1], count_include_pad=1),
        one("LpPool", **POOLING),
        one("GlobalAveragePool"),
        one("GlobalMaxPool"),
        one("ReduceMean", axes=[2, 3]),
        one("ReduceL2", axes=[3]),
        one("ReduceMax", axes=[2]),
    ],
)
def test_pools_and_reductions_over_positions(middle: Write) -> None:
    assert check(between(middle)) == PASSED


def test_reductions_over_channels_and_squares_keep_them() -> None:
    def spread(net: Builder, x: str) -> str:
        mean = net.node("ReduceMean", [x], "mean", axes=[1])
        return net.node("Add", [x, mean], "y")

    assert check(between(spread)) == STOPPED
    assert check(between(one("ReduceSumSquare", axes=[2, 3]))) == STOPPED


@pytest.mark.parametrize("op", ["Add", "Sub", "Max", "Min", "Sum", "Mean"])
def test_operands_are_scaled_alike(op: str) -> None:
    def write(net: Builder, x: str) -> str:
        a, other = conv(net, x, "a", 3, 4), conv(net, x, "other", 3, 4)
        return conv(net, net.node(op, [a, other], "y"), "b", 4, 5)

    assert check(classifier(write, 5)) == {"a.weight", "other.weight", "b.weight", "fc.weight"}


@pytest.mark.parametrize("op", ["Add", "Sub", "Max"])
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 4, 1, 1), PASSED | {"k"}),
        ((4, 6, 6), PASSED | {"k"}),
        ((), STOPPED),
        ((6,), STOPPED),
        ((1, 1, 6, 1), STOPPED),
    ],
)
def test_constants_are_scaled_with_the_channels_that_they_meet(
    op: str, shape: tuple[int, ...], expected: set[str]
) -> None:
    def middle(net: Builder, x: str) -> str:
        return net.node(op, [x, net.constant("k", net.small(*shape) + np.float32(1))], "y")

    assert check(between(middle)) == expected


def test_zero_may_be_added_to_any_channel() -> None:
    assert check(between(one("Max", 0.0))) == PASSED


@pytest.mark.parametrize("op", ["Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (4, 1, 1), (1, 4, 6, 6)])
def test_multiplied_constants_stay(op: str, shape: tuple[int, ...]) -> None:
    def middle(net: Builder, x: str) -> str:
        return net.node(op, [x, net.constant("k", net.small(*shape) + np.float32(1))], "y")

    assert check(between(middle)) == PASSED


@pytest.mark.parametrize("shape", [(4, 1, 1), (6,)])
def test_a_constant_makes_channels_where_there_are_none(shape: tuple[int, ...]) -> None:
    def middle(net: Builder, x: str) -> str:
        x = net.node("Mul", [net.node("Tanh", [x], "tanh"), net.constant("k", net.small(*shape))], "scaled")
        return net.node("Add", [x, net.constant("shift", net.small(*shape))], "y")

    # Along the width a convolution mixes them.
    assert check(between(middle)) == STOPPED | ({"k", "shift"} if len(shape) == 3 else set())


def test_the_normalisation_of_the_image_stays() -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Mul", [x, net.constant("k", net.small(3, 1, 1))], "normal")
        return conv(net, x, "a", 3, 4)

    assert check(classifier(write, 4)) == {"a.weight", "fc.weight"}


def test_division_by_channels_and_their_products_keep_them() -> None:
    def divided(net: Builder, x: str) -> str:
        x = net.node("Abs", [x], "positive")
        x = net.node("Add", [x, net.constant("k", np.ones((4, 1, 1), np.float32))], "above")
        return net.node("Div", [net.constant("one", np.array(1, np.float32)), x], "y")

    assert check(between(divided)) == STOPPED
    assert check(between(lambda net, x: net.node("Mul", [x, x], "y"))) == STOPPED


def test_a_gate_keeps_its_own_channels_and_lets_others_pass() -> None:
    def middle(net: Builder, x: str) -> str:
        pooled = net.node("GlobalAveragePool", [x], "pooled")
        gate = net.node("Sigmoid", [conv(net, pooled, "gate", 4, 4, kernel=1, bias=True)], "open")
        return net.node("Mul", [x, gate], "y")

    assert check(between(middle)) == PASSED | {"gate.weight"}


def concat(*axes: int) -> Write:
    def write(net: Builder, x: str) -> str:
        for axis in axes:
            x = net.node("Concat", [x, net.node("Neg", [x], f"neg{axis}")], f"concat{axis}", axis=axis)
        return x

    return write


def split(net: Builder, x: str) -> str:
    sizes = integers(net, "sizes", 1, 3)
    net.nodes.append(onnx.helper.make_node("Split", [x, sizes], ["first", "rest"], axis=1))
    return net.node("Concat", ["rest", "first"], "y", axis=1)


def shuffle(net: Builder, x: str) -> str:
    x = net.node("Reshape", [x, integers(net, "apart", 0, 2, 2, 6, 6)], "pairs")
    x = net.node("Transpose", [x], "turned", perm=[0, 2, 1, 3, 4])
    return net.node("Reshape", [x, integers(net, "together", 0, 4, 6, 6)], "y")


def cut(net: Builder, x: str) -> str:
    lists = {"starts": 1, "ends": 4, "axes": 1}
    return net.node("Slice", [x, *(integers(net, name, value) for name, value in lists.items())], "y")


def gather(net: Builder, x: str) -> str:
    return net.node("Gather", [x, integers(net, "indices", 3, 0, 0, 2)], "y", axis=1)


@pytest.mark.parametrize(
    ("middle", "width"),
    [(concat(1), 8), (concat(1, 2), 8), (split, 4), (shuffle, 4), (cut, 3), (gather, 4)],
)
def test_moves(middle: Write, width: int) -> None:
    assert check(between(middle, width=width)) == PASSED


def test_channels_beside_a_constant_stay() -> None:
    def middle(net: Builder, x: str) -> str:
        return net.node("Concat", [x, net.constant("k", net.small(1, 4, 1, 6))], "y", axis=2)

    def model(batch: int) -> Model:
        return classifier(lambda n, x: conv(n, middle(n, conv(n, x, "a", 3, 4)), "b", 4, 5), 5, batch=batch)

    assert check(model(1)) == STOPPED


@pytest.mark.parametrize(("value", "expected"), [(0.0, PASSED), (1.0, STOPPED)])
def test_padding(value: float, expected: set[str]) -> None:
    def middle(net: Builder, x: str) -> str:
        pads = integers(net, "pads", 0, 2, 1, 1, 0, 0, 1, 1)
        return net.node("Pad", [x, pads, net.constant("value", np.array(value, np.float32))], "y")

    assert check(between(middle, width=6)) == expected


def test_flattened_positions_share_their_channels_factor() -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Flatten", [conv(net, x, "a", 3, 4)], "flat")
        return gemm(net, x, "fc", 4 * 36, 5)

    assert check(ending(write)) == {"a.weight", "fc.weight"}


def test_resize_by_interpolation() -> None:
    def middle(net: Builder, x: str) -> str:
        scales = net.constant("scales", np.array([1, 1, 2, 2], np.float32))
        return net.node("Resize", [x, "", scales], "y", mode="linear")

    assert check(between(middle)) == PASSED


@pytest.mark.parametrize("op", ["InstanceNormalization", "LayerNormalization"])
def test_other_normalisations_make_channels_and_keep_those_they_read(op: str) -> None:
    def middle(net: Builder, x: str) -> str:
        scale, bias = (net.constant(name, net.small(4) + np.float32(1)) for name in ("scale", "shift"))
        if op == "InstanceNormalization":
            return net.node(op, [x, scale, bias], "y")
        x = net.node("Transpose", [x], "last", perm=[0, 2, 3, 1])
        x = net.node(op, [x, scale, bias], "normal", axis=-1)
        return net.node("Transpose", [x], "y", perm=[0, 3, 1, 2])

    assert check(between(middle)) == STOPPED | {"scale", "shift"}


def test_a_standalone_batch_normalisation_takes_factors_up_on_both_sides() -> None:
    def middle(net: Builder, x: str) -> str:
        return batch_norm(net, net.node("Relu", [x], "relu"), "norm", 4)

    parameters = {f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
    assert check(between(middle)) == PASSED | parameters


def test_what_will_be_folded_is_scaled_behind_its_normalisation() -> None:
    found = check(between(lambda net, x: batch_norm(net, x, "norm", 4)))
    assert found == STOPPED | {"norm.weight", "norm.bias"}


def test_every_rule_is_of_an_operator_that_onnx_has() -> None:
    assert all(onnx.defs.has(op) for op in RULES)
