"""Each operator alone between two convolutions, where its channels are known by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from onnxcomp.model import Model, from_proto
from onnxcomp.passes.channels import find
from tests.passes.channels.reference import assert_cut_equals_zeroed
from tests.random_graphs.branches import squeeze_excite
from tests.random_graphs.layers import ACTIVATIONS, activate
from tests.random_graphs.net import Image, Net, batch_norm, conv, renamed
from tests.random_graphs.tokens import layer_norm

WIDTH, SIZE = 8, 6
ALL = tuple(range(WIDTH))
Write = Callable[[Net, Image], Image]


def between(write: Write, opset: int = 18) -> Model:
    """``input``, a convolution ``first`` to 8 channels, ``write``, and a convolution ``second``."""
    net = Net(lambda options: options[0], opset, "N", seed=1)
    first = net.constant("first", net.he(WIDTH, 3, 3, 3))
    x = write(net, conv(net, Image("input", 3, SIZE, SIZE), WIDTH, kernel=3, weight=first, bias=True))
    second = net.constant("second", net.he(4, x.channels, 1, 1))
    x = conv(net, x, 4, weight=second)
    y = net.op("Flatten", net.op("GlobalAveragePool", x.name))
    y = net.op("Gemm", y, net.constant("third", net.he(3, 4)), transB=1)
    return from_proto(net.model(y, opset, ("N", 3, SIZE, SIZE), 3))


def node(op: str, *constants: np.ndarray | float, channels: int = WIDTH, **attributes: object) -> Write:
    """One node that reads the image and float32 constants."""

    def write(net: Net, x: Image) -> Image:
        name = net.op(op, x.name, *(net.floats(value) for value in constants), **attributes)
        return Image(name, channels, x.height, x.width)

    return write


def moved(op: str, *lists: Sequence[int], channels: int, **attributes: object) -> Write:
    """One node that reads the image and int64 vectors."""

    def write(net: Net, x: Image) -> Image:
        name = net.op(op, x.name, *(net.integers(*values) for values in lists), **attributes)
        return Image(name, channels, x.height, x.width)

    return write


def activation(name: str) -> Write:
    return lambda net, x: renamed(x, activate(net, x.name, name, x.channels))


def positions(net: Net, x: Image) -> Image:
    y = net.op("Sub", x.name, net.op("GlobalAveragePool", x.name))
    return renamed(x, net.op("Relu", y))  # without it `second` would make 0 on the average


def residual(net: Net, x: Image) -> Image:
    return renamed(x, net.op("Add", conv(net, x, x.channels).name, x.name))


def twice(net: Net, x: Image) -> Image:
    return Image(net.op("Concat", x.name, x.name, axis=1), 2 * WIDTH, x.height, x.width)


def beside(net: Net, x: Image) -> Image:
    y = conv(net, x, 4)
    return Image(net.op("Concat", y.name, x.name, axis=1), WIDTH + 4, x.height, x.width)


def parts(net: Net, x: Image) -> Image:
    a, b = net.ops("Split", [x.name, net.integers(3, 5)], 2, axis=1)
    return renamed(x, net.op("Concat", b, a, axis=1))


def halves(net: Net, x: Image) -> Image:
    a, b = net.ops("Split", [x.name], 2, axis=1, num_outputs=2)
    return Image(net.op("Mul", a, b), WIDTH // 2, x.height, x.width)


def shuffled(net: Net, x: Image) -> Image:
    y = net.op("Reshape", x.name, net.integers(0, 2, 4, SIZE, SIZE))
    y = net.op("Transpose", y, perm=[0, 2, 1, 3, 4])
    return renamed(x, net.op("Reshape", y, net.integers(0, WIDTH, SIZE, SIZE)))


def resized(net: Net, x: Image) -> Image:
    name = net.op("Resize", x.name, "", net.floats([1, 1, 2, 2]), mode="nearest")
    return Image(name, WIDTH, 2 * SIZE, 2 * SIZE)


def quantized(net: Net, x: Image) -> Image:
    """A scale for each channel, as Q/DQ on a weight has; powers of two, so that rounding is the same."""
    scale = net.floats(2.0 ** -np.arange(2, 2 + WIDTH))
    zero = net.constant("zero", np.zeros(WIDTH, np.int8))
    y = net.op("QuantizeLinear", x.name, scale, zero, axis=1)
    return renamed(x, net.op("DequantizeLinear", y, scale, zero, axis=1))


def channels_last(net: Net, x: Image) -> Image:
    y = net.op("Transpose", x.name, perm=[0, 2, 3, 1])
    y = net.op("Mul", y, net.floats(net.uniform(WIDTH)))
    return renamed(x, net.op("Transpose", y, perm=[0, 3, 1, 2]))


SEVERAL = np.linspace(0.5, 1.5, WIDTH)
# What each channel that `second` reads is of those that `first` makes; None for another's.
READS: dict[str, tuple[Write, Sequence[int | None]]] = {
    "BatchNormalization": (batch_norm, ALL),
    "InstanceNormalization": (node("InstanceNormalization", SEVERAL, SEVERAL), ALL),
    **{name: (activation(name), ALL) for name in ("Relu", "HardSwish", *ACTIVATIONS)},
    **{op: (node(op, kernel_shape=[3, 3], pads=[1] * 4), ALL) for op in ("MaxPool", "AveragePool")},
    "Mul (C, 1, 1)": (node("Mul", SEVERAL.reshape(-1, 1, 1)), ALL),
    "Add (1, C, 1, 1)": (node("Add", SEVERAL.reshape(1, -1, 1, 1)), ALL),
    "Sub (C, H, W)": (node("Sub", np.ones((WIDTH, SIZE, SIZE))), ALL),
    "Div by a number": (node("Div", 2.0), ALL),
    "Add (H, W)": (node("Add", np.ones((SIZE, SIZE))), ALL),
    "less its mean": (positions, ALL),
    "squeeze and excitation": (squeeze_excite, ALL),
    "residual": (residual, ALL),
    "Q/DQ": (quantized, ALL),
    "channels last": (channels_last, ALL),
    "depthwise": (lambda net, x: conv(net, x, WIDTH, group=WIDTH), ALL),
    "depthwise, two each": (lambda net, x: conv(net, x, 2 * WIDTH, group=WIDTH), [c // 2 for c in range(16)]),
    "Resize": (resized, ALL),
    "Pad the image": (moved("Pad", [0, 0, 1, 1, 0, 0, -1, -1], channels=WIDTH), ALL),
    "Pad channels": (
        moved("Pad", [0, 1, 0, 0, 0, 2, 0, 0], channels=WIDTH + 3),
        (None, *ALL, None, None),
    ),
    "Concat twice": (twice, (*ALL, *ALL)),
    "Concat": (beside, (None, None, None, None, *ALL)),
    "Split": (parts, (3, 4, 5, 6, 7, 0, 1, 2)),
    "Slice": (moved("Slice", [2], [-1], [1], channels=5), (2, 3, 4, 5, 6)),
    "Slice, every second": (moved("Slice", [1], [2**31], [-3], [2], channels=4), (1, 3, 5, 7)),
    "Slice, backwards": (moved("Slice", [-2], [-(2**63)], [1], [-1], channels=7), (6, 5, 4, 3, 2, 1, 0)),
    "Gather": (moved("Gather", [3, 0, 3, -1], channels=4, axis=1), (3, 0, 3, 7)),
}


@pytest.mark.parametrize("case", READS)
def test_each_channel_is_followed_to_those_that_read_it(case: str) -> None:
    write, reads = READS[case]
    model = between(write)
    dependencies = find(model.graph)
    made, read = dependencies.constants["first"][0], dependencies.constants["second"][1]
    assert len(set(made.tolist())) == WIDTH, "each goes for itself"
    free = {int(number) for group in dependencies.groups for number in group.ids}
    assert free.issuperset(made.tolist())
    for number, channel in zip(read, reads, strict=True):
        if channel is None:
            assert number not in made
        else:
            assert number == made[channel]
    for seed, share in enumerate((0.1, 0.5, 1.0)):
        assert_cut_equals_zeroed(model, seed, share)


TOGETHER: dict[str, Write] = {
    "two halves multiplied": halves,
    "a shuffle, which stays a rectangle": shuffled,
    "a convolution of two groups": lambda net, x: conv(net, x, 6, group=2),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_a_channel_goes_with_its_counterpart_in_the_other_half(case: str) -> None:
    model = between(TOGETHER[case])
    dependencies = find(model.graph)
    made = dependencies.constants["first"][0]
    assert made[:4].tolist() == made[4:].tolist()
    assert len(set(made.tolist())) == 4
    for seed, share in enumerate((0.1, 0.5, 1.0)):
        assert_cut_equals_zeroed(model, seed, share)


def normalised(net: Net, x: Image) -> Image:
    y = net.op("Transpose", x.name, perm=[0, 2, 3, 1])
    return renamed(x, net.op("Transpose", layer_norm(net, y, WIDTH), perm=[0, 3, 1, 2]))


def averaged(net: Net, x: Image) -> Image:
    return renamed(x, net.op("Add", x.name, net.reduce("ReduceMean", x.name, [1])))


KEPT: dict[str, Write] = {
    "LayerNormalization": normalised,
    "ReduceMean": averaged,
    "Softmax": node("Softmax", axis=1),
    "DepthToSpace": lambda net, x: Image(net.op("DepthToSpace", x.name, blocksize=2), 2, 2 * SIZE, 2 * SIZE),
}


@pytest.mark.parametrize("operator", KEPT)
def test_channels_that_an_operator_mixes_are_kept_and_it_is_named(operator: str) -> None:
    (group, *_) = find(between(KEPT[operator]).graph).groups
    assert group.name == "first"
    assert group.ids.size == 0
    assert operator in group.reason
