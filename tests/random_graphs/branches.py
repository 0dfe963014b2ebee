"""Branches that meet again: residuals, gates, and layers that share a weight."""

from __future__ import annotations

from dataclasses import replace

from tests.random_graphs.layers import activation
from tests.random_graphs.moves import concat, narrowed
from tests.random_graphs.net import Image, Net, batch_norm, conv, renamed


def residual(net: Net, x: Image) -> Image:
    """A block beside the identity or a 1x1 convolution; they meet by any operator of two operands."""
    y = conv(net, x, net.choose((x.channels, 4, 6)), kernel=3)
    if net.maybe():
        y = activation(net, batch_norm(net, y))
    if y.channels != x.channels and net.maybe():
        y = conv(net, y, x.channels)
    elif y.channels != x.channels:
        x = conv(net, x, y.channels)
    op = net.choose(("Add", "Sub", "Mul", "Max", "Min", "Sum"))
    return renamed(x, net.op(op, *net.choose(((x.name, y.name), (y.name, x.name)))))


def option_a(net: Net, x: Image) -> Image:
    """ResNet's shortcut without weights: every second position, and channels of zeros."""
    x = narrowed(net, x, 12)
    if min(x.height, x.width) < 4:
        return residual(net, x)
    wider = net.choose((2 * x.channels, x.channels + 3))
    y = conv(net, x, wider, kernel=3, stride=2)
    if net.maybe():
        short = net.op("AveragePool", x.name, kernel_shape=[1, 1], strides=[2, 2])
    else:
        ends = net.integers(2**31 - 1, 2**31 - 1)
        short = net.op("Slice", x.name, net.integers(0, 0), ends, net.integers(2, 3), net.integers(2, 2))
    more = wider - x.channels
    before = more // 2 if net.maybe() else 0
    short = net.op("Pad", short, net.integers(0, before, 0, 0, 0, more - before, 0, 0))
    return renamed(y, net.op("Add", y.name, short))


def squeeze_excite(net: Net, x: Image) -> Image:
    """Every channel is multiplied with a number that all channels decide."""
    pooled = pooled_image(net, x)
    hidden, last = net.choose((4, 6)), net.choose(("Sigmoid", "HardSigmoid", "Relu"))
    if net.maybe():
        gate = conv(net, activation(net, conv(net, pooled, hidden)), x.channels).name
    else:
        gate = _gemm_gate(net, pooled, hidden)
    gate = net.op(last, gate)
    return renamed(x, net.op("Mul", *net.choose(((x.name, gate), (gate, x.name)))))


def pooled_image(net: Net, x: Image) -> Image:
    """(N, C, 1, 1)."""
    kind = net.choose(("GlobalAveragePool", "GlobalMaxPool", "ReduceMean"))
    if kind == "ReduceMean":
        name = net.reduce(kind, x.name, net.choose(((2, 3), (-1, -2))))
    else:
        name = net.op(kind, x.name)
    return Image(name, x.channels, 1, 1)


def _gemm_gate(net: Net, pooled: Image, hidden: int) -> str:
    y = net.op("Flatten", pooled.name)
    weights = net.he(hidden, pooled.channels), net.he(pooled.channels, hidden)
    y = net.op("Relu", net.op("Gemm", y, net.floats(weights[0]), net.floats(net.normal(hidden)), transB=1))
    y = net.op("Gemm", y, net.floats(weights[1]), transB=1)
    if net.maybe():
        return net.op("Unsqueeze", y, net.integers(2, 3))
    return net.op("Reshape", y, net.target(y, pooled.channels, 1, 1))


def gate(net: Net, x: Image) -> Image:
    """One number for each position, for all channels; or what is left when the mean is taken off."""
    kind = net.choose(("one channel", "mean of positions", "mean of channels"))
    if kind == "one channel":
        return renamed(x, net.op("Mul", x.name, net.op("Sigmoid", conv(net, x, 1).name)))
    if kind == "mean of positions":
        y = net.op("Sub", x.name, pooled_image(net, x).name)
        return renamed(x, net.op("Relu", y))  # the mean of what is left is 0
    mean = net.reduce("ReduceMean", x.name, [1])
    return renamed(x, net.op("Mul", x.name, net.op("Sigmoid", mean)))


def shared_weight(net: Net, x: Image) -> Image:
    """Two convolutions read one weight; what they make is added or stands side by side."""
    x = narrowed(net, x, 12)
    width = net.choose((4, 6))
    other = activation(net, x) if net.maybe() else conv(net, x, x.channels)
    weight = net.floats(net.he(width, x.channels, 1, 1))
    parts = [conv(net, image, width, weight=weight) for image in (x, other)]
    if net.maybe():
        return concat(net, *parts)
    return renamed(parts[0], net.op("Add", *(part.name for part in parts)))


def repeated(net: Net, x: Image) -> Image:
    """A layer applied twice, as in a recurrent network: its outputs are its inputs."""
    weight = net.floats(0.5 * net.he(x.channels, x.channels, 3, 3))
    for _ in range(2):
        x = replace(x, name=net.op("Relu", conv(net, x, x.channels, kernel=3, weight=weight).name))
    return x
