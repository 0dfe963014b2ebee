"""Tokens: the image's positions as rows, attention among them, and layers over their last axis."""

from __future__ import annotations

from dataclasses import dataclass

from tests.random_graphs.layers import activate
from tests.random_graphs.net import Image, Net, conv, linear, renamed


@dataclass(frozen=True)
class Tokens:
    """A tensor of shape (N, count, width)."""

    name: str
    count: int
    width: int


def from_image(net: Net, x: Image) -> Tokens:
    """(N, C, H, W) becomes (N, H W, C)."""
    count = x.height * x.width
    y = net.op("Reshape", x.name, net.target(x.name, x.channels, net.choose((count, -1))))
    return Tokens(net.op("Transpose", y, perm=[0, 2, 1]), count, x.channels)


def to_image(net: Net, t: Tokens, height: int, width: int) -> Image:
    y = net.op("Transpose", t.name, perm=[0, 2, 1])
    shape = net.target(y, t.width, height, width)
    return Image(net.op("Reshape", y, shape), t.width, height, width)


def layer_norm(net: Net, x: str, width: int) -> str:
    """One node from opset 17 on, several before; its epsilon keeps near-constant tokens sane."""
    scale, bias = net.floats(net.uniform(width)), net.floats(net.normal(width))
    if net.opset >= 17:
        return net.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-2)
    centred = net.op("Sub", x, net.reduce("ReduceMean", x, [-1]))
    variance = net.reduce("ReduceMean", net.op("Pow", centred, net.floats(2)), [-1])
    deviation = net.op("Sqrt", net.op("Add", variance, net.floats(1e-2)))
    y = net.op("Mul", net.op("Div", centred, deviation), scale)
    return net.op("Add", y, bias)


def transformer(net: Net, t: Tokens) -> Tokens:
    """Attention and MLP, each with or without LayerNormalization before it and the identity beside it."""
    t = _beside(net, t, attention)
    return _beside(net, t, mlp) if net.maybe() else t


def _beside(net: Net, t: Tokens, layer: object) -> Tokens:
    inner = layer_norm(net, t.name, t.width) if net.maybe() else t.name
    y = layer(net, Tokens(inner, t.count, t.width))  # type: ignore[operator]
    return Tokens(net.op("Add", t.name, y) if net.maybe() else y, t.count, t.width)


def mlp(net: Net, t: Tokens) -> str:
    hidden = net.choose((4, 6, 8))
    y = activate(net, linear(net, t.name, t.width, hidden), net.choose(("Relu", "Gelu", "Silu")))
    return linear(net, y, hidden, t.width)


def attention(net: Net, t: Tokens) -> str:
    """Heads of equal size from one matrix or three; the width is what the heads have together."""
    heads, size = net.choose((2, 3, 4)), net.choose((2, 3))
    fused = net.choose(("three matrices", "gather", "split"))
    if fused == "three matrices":
        q, k, v = (_heads(net, linear(net, t.name, t.width, heads * size), t, heads, size) for _ in range(3))
    elif fused == "gather":
        q, k, v = _gathered(net, t, heads, size)
    else:
        q, k, v = _split(net, t, heads, size)
    scale = net.floats(size**-0.5)
    if net.maybe():
        q = net.op("Mul", q, scale)
    weights = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 3, 2]))
    if net.maybe():
        weights = net.op("Mul", weights, scale)
    weights = net.op("Softmax", weights, axis=net.choose((-1, 3)))
    y = net.op("Transpose", net.op("MatMul", weights, v), perm=[0, 2, 1, 3])
    y = net.op("Reshape", y, net.target(t.name, t.count, net.choose((heads * size, -1))))
    return linear(net, y, heads * size, t.width)


def _heads(net: Net, x: str, t: Tokens, heads: int, size: int) -> str:
    y = net.op("Reshape", x, net.target(t.name, t.count, *net.choose(((heads, size), (heads, -1)))))
    return net.op("Transpose", y, perm=[0, 2, 1, 3])


def _gathered(net: Net, t: Tokens, heads: int, size: int) -> list[str]:
    y = linear(net, t.name, t.width, 3 * heads * size, bias=net.maybe())
    y = net.op("Reshape", y, net.target(t.name, t.count, 3, heads, size))
    y = net.op("Transpose", y, perm=[2, 0, 3, 1, 4])
    return [net.op("Gather", y, net.number(index), axis=0) for index in range(3)]


def _split(net: Net, t: Tokens, heads: int, size: int) -> list[str]:
    y = linear(net, t.name, t.width, 3 * heads * size)
    parts = net.ops("Split", [y, net.integers(*[heads * size] * 3)], 3, axis=net.choose((2, -1)))
    return [_heads(net, part, t, heads, size) for part in parts]


def attend(net: Net, x: Image) -> Image:
    """A transformer block among the positions of an image."""
    if x.height * x.width > 36:
        name = net.op("AveragePool", x.name, kernel_shape=[2, 2], strides=[2, 2])
        x = Image(name, x.channels, x.height // 2, x.width // 2)
    return to_image(net, transformer(net, from_image(net, x)), x.height, x.width)


def mix(net: Net, x: Image) -> Image:
    """MLP-Mixer: a matrix from the left mixes positions; the identity beside it."""
    t = from_image(net, x)
    y = net.op("MatMul", net.floats(0.5 * net.he(t.count, t.count)), t.name)
    if net.maybe():
        y = net.op("Relu", net.op("Add", y, net.floats(net.normal(t.count, 1))))
    if net.maybe():
        y = net.op("Add", y, t.name)
    return to_image(net, Tokens(y, t.count, t.width), x.height, x.width)


def convnext(net: Net, x: Image) -> Image:
    """Depthwise convolution, LayerNormalization and MLP with channels last, a factor for each channel."""
    y = conv(net, x, x.channels, kernel=3, group=x.channels)
    last = net.op("Transpose", y.name, perm=[0, 2, 3, 1])
    if net.maybe():
        last = layer_norm(net, last, x.channels)
    last = mlp(net, Tokens(last, 0, x.channels))
    if net.maybe():
        last = net.op("Mul", net.floats(net.uniform(x.channels)), last)
    y = renamed(x, net.op("Transpose", last, perm=[0, 3, 1, 2]))
    return renamed(x, net.op("Add", x.name, y.name)) if net.maybe() else y
