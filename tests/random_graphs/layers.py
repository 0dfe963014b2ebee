"""Layers of one input: convolutions, activations, pools, paddings and sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.random_graphs.net import WIDEST, WIDTHS, Image, Net, batch_norm, conv, renamed


def convolution(net: Net, x: Image) -> Image:
    """Of any kernel, stride and dilation, with or without bias, BatchNormalization and activation."""
    width, kernel = net.choose(WIDTHS), net.choose((1, 3))
    stride = net.choose((1, 2)) if min(x.height, x.width) >= 6 else 1
    dilation = net.choose((1, 2)) if kernel > 1 else 1
    x = conv(net, x, width, kernel=kernel, stride=stride, dilation=dilation)
    x = batch_norm(net, x) if net.maybe() else x
    return activation(net, x) if net.maybe() else x


def grouped(net: Net, x: Image) -> Image:
    """Two groups or more, each of more than one channel."""
    group = net.choose([g for g in (2, 3, 4) if x.channels % g == 0 and x.channels > g] or [1])
    return conv(net, x, group * net.choose((2, 3)), kernel=net.choose((1, 3)), group=group)


def depthwise(net: Net, x: Image) -> Image:
    """One group a channel, with one or two outputs each."""
    multiplier = net.choose((1, 2)) if 2 * x.channels <= WIDEST else 1
    return conv(net, x, multiplier * x.channels, kernel=net.choose((3, 1)), group=x.channels)


def transposed(net: Net, x: Image) -> Image:
    """ConvTranspose: one group, some, or one a channel."""
    groups = [g for g in (1, 2, x.channels) if x.channels % g == 0]
    group, stride = net.choose(groups), net.choose((1, 2)) if max(x.height, x.width) <= 6 else 1
    each = net.choose((4, 6)) if group < 3 else net.choose((1, 2))
    if group * each > WIDEST:
        each = 1
    kernel = 2 if stride == 2 else net.choose((1, 3))
    inputs = [x.name, net.floats(net.he(x.channels, each, kernel, kernel))]
    if net.maybe():
        inputs.append(net.floats(net.normal(group * each)))
    attributes = {
        "kernel_shape": [kernel] * 2,
        "strides": [stride] * 2,
        "pads": [kernel % 2 * (kernel // 2)] * 4,
    }
    name = net.op("ConvTranspose", *inputs, group=group, **attributes)
    return Image(name, group * each, x.height * stride, x.width * stride)


def activation(net: Net, x: Image) -> Image:
    names = ["Relu", *ACTIVATIONS]
    names += ["HardSwish"] if net.opset >= 14 else []
    names += ["GeluNode"] if net.opset >= 20 else []
    return renamed(x, activate(net, x.name, net.choose(names), x.channels))


def activate(net: Net, x: str, name: str, channels: int = 0) -> str:
    """An activation by name; ``channels`` of an image, for PRelu."""
    if name == "PRelu":
        shape = net.choose(((channels, 1, 1), (1,), (1, 1, 1)))
        return net.op("PRelu", x, net.floats(0.25 * net.uniform(*shape)))
    return ACTIVATIONS[name](net, x) if name in ACTIVATIONS else net.op(name.removesuffix("Node"), x)


def _clip(net: Net, x: str) -> str:
    return net.op(
        "Clip", x, *net.choose((("", net.floats(6)), (net.floats(0), net.floats(6)), (net.floats(-1),)))
    )


def _gelu(net: Net, x: str) -> str:
    y = net.op("Erf", net.op("Div", x, net.floats(2**0.5)))
    y = net.op("Mul", x, net.op("Add", y, net.floats(1)))
    return net.op("Mul", y, net.floats(0.5))


def _silu(net: Net, x: str) -> str:
    return net.op("Mul", x, net.op("Sigmoid", x))


ACTIVATIONS: dict[str, Callable[[Net, str], str]] = {
    "LeakyRelu": lambda net, x: net.op("LeakyRelu", x, alpha=0.1),
    "PRelu": lambda net, x: net.op("PRelu", x, net.floats([0.25])),
    "Sigmoid": lambda net, x: net.op("Sigmoid", x),
    "HardSigmoid": lambda net, x: net.op("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "Clip": _clip,
    "Elu": lambda net, x: net.op("Elu", x),
    "Tanh": lambda net, x: net.op("Tanh", x),
    "Softplus": lambda net, x: net.op("Softplus", x),
    "Gelu": _gelu,
    "Silu": _silu,
}


def pool(net: Net, x: Image) -> Image:
    """MaxPool or AveragePool that halves the image or keeps it."""
    op = net.choose(("MaxPool", "AveragePool"))
    if min(x.height, x.width) >= 4 and net.maybe():
        attributes = {"ceil_mode": 1} if x.height % 2 == x.width % 2 == 0 and net.maybe() else {}
        name = net.op(op, x.name, kernel_shape=[2, 2], strides=[2, 2], **attributes)
        return Image(name, x.channels, x.height // 2, x.width // 2)
    return renamed(x, net.op(op, x.name, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4))


def affine(net: Net, x: Image) -> Image:
    """A constant added, taken off, multiplied or divided by, in any shape that broadcasts."""
    op = net.choose(("Mul", "Add", "Sub", "Div"))
    c, h, w = x.channels, x.height, x.width
    shapes = ((c, 1, 1), (1, c, 1, 1), (), (1,), (1, 1, 1, 1), (h, w), (1, c, h, w), (c, h, w), (1, 1, h, 1))
    operands = [x.name, net.floats(net.uniform(*net.choose(shapes)))]
    if op != "Div" and net.maybe():
        operands.reverse()
    return renamed(x, net.op(op, *operands))


def normalise(net: Net, x: Image) -> Image:
    """BatchNormalization or InstanceNormalization."""
    if net.maybe() and x.height * x.width > 1:
        parameters = map(net.floats, (net.uniform(x.channels), net.normal(x.channels)))
        y = net.op("InstanceNormalization", x.name, *parameters, epsilon=0.1)
        return renamed(x, net.op("Relu", y))  # the mean of what is normalised is a constant
    return batch_norm(net, x)


def pad(net: Net, x: Image) -> Image:
    """Around the image, of it or of its channels; with the axes as an input from opset 18 on."""
    where = net.choose(("image", "channels", "both"))
    c = (
        (net.choose((0, 1, 2)), net.choose((2, 1)))
        if where != "image" and x.channels + 4 <= WIDEST
        else (0, 0)
    )
    h = (net.choose((1, 0)), 1) if where != "channels" else (0, 0)
    mode = net.choose(("constant", "edge", "reflect")) if c == (0, 0) else "constant"
    inputs = [x.name, net.integers(0, c[0], h[0], 0, 0, c[1], h[1], 0)]
    if net.opset >= 18 and net.maybe():
        axes = net.choose(((1, 2), (-3, -2), (2, 1)))
        (a, b) = (c, h) if axes[0] != 2 else (h, c)
        inputs = [x.name, net.integers(a[0], b[0], a[1], b[1]), "", net.integers(*axes)]
    elif mode == "constant" and net.maybe():
        inputs.append(net.floats(net.choose((0.0, 0.5))))
    name = net.op("Pad", *inputs, mode=mode)
    return Image(name, x.channels + sum(c), x.height + sum(h), x.width)


def resize(net: Net, x: Image) -> Image:
    """To twice the size or to a given one."""
    mode = net.choose(("nearest", "linear"))
    attributes = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
    if mode == "nearest":
        attributes["nearest_mode"] = "floor"
    if max(x.height, x.width) <= 6 and net.maybe():
        scales = net.floats(np.array([1, 1, 2, 2]))
        return Image(
            net.op("Resize", x.name, "", scales, **attributes), x.channels, 2 * x.height, 2 * x.width
        )
    height, width = net.choose((4, 3)), net.choose((4, 5))
    batch = net.batch if isinstance(net.batch, int) else None
    if batch is None and net.opset >= 18:
        inputs, axes = ["", "", net.integers(height, width)], {"axes": [2, 3]}
    elif batch is None:
        # A free batch: the sizes begin with the batch that the graph finds.
        inputs, axes = ["", "", net.shape(x.name, x.channels, height, width)], {}
    else:
        inputs, axes = ["", "", net.integers(batch, x.channels, height, width)], {}
    return Image(net.op("Resize", x.name, *inputs, **attributes, **axes), x.channels, height, width)
