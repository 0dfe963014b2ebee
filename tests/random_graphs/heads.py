"""What ends a network: from an image to the logits."""

from __future__ import annotations

from collections.abc import Callable

from tests.random_graphs.branches import pooled_image
from tests.random_graphs.net import Image, Net, conv, linear
from tests.random_graphs.tokens import Tokens, from_image, layer_norm, transformer

LARGEST = 16


def pooled(net: Net, x: Image, classes: int) -> str:
    """A pool over all positions, then one layer or two."""
    return _layers(net, _flat(net, pooled_image(net, x)), x.channels, classes)


def reduced(net: Net, x: Image, classes: int) -> str:
    """A mean over positions that drops their axes."""
    y = net.reduce("ReduceMean", x.name, net.choose(((2, 3), (-2, -1))), keepdims=0)
    return _layers(net, y, x.channels, classes)


def flattened(net: Net, x: Image, classes: int) -> str:
    """Every position of every channel is an input of the first layer."""
    x = _small(net, x)
    return _layers(net, _flat(net, x), x.channels * x.height * x.width, classes)


def convolved(net: Net, x: Image, classes: int) -> str:
    """SqueezeNet: a convolution to the classes before the pool."""
    return _flat(net, pooled_image(net, conv(net, x, classes)))


def of_tokens(net: Net, x: Image, classes: int) -> str:
    """A class token or the mean of all, with positions added, behind a transformer block."""
    x = _small(net, x)
    t = from_image(net, x)
    with_token = net.maybe()
    if with_token:
        shape = net.shape(x.name, 1, net.choose((1, x.channels)))
        token = net.op("Expand", net.floats(net.normal(1, 1, x.channels)), shape)
        t = Tokens(net.op("Concat", token, t.name, axis=1), t.count + 1, t.width)
    y = net.op("Add", t.name, net.floats(net.normal(1, t.count, t.width)))
    t = transformer(net, Tokens(y, t.count, t.width))
    y = layer_norm(net, t.name, t.width) if net.maybe() else t.name
    if with_token:
        y = net.op("Gather", y, net.number(0), axis=1)
    else:
        y = net.reduce("ReduceMean", y, [1], keepdims=0)
    return _layers(net, y, t.width, classes)


def _small(net: Net, x: Image) -> Image:
    if x.height * x.width <= LARGEST:
        return x
    height, width = (-(-side // 3) for side in (x.height, x.width))
    name = net.op("MaxPool", x.name, kernel_shape=[3, 3], strides=[3, 3], ceil_mode=1)
    return Image(name, x.channels, height, width)


def _flat(net: Net, x: Image) -> str:
    """(N, C H W)."""
    kinds = ["Flatten", "Reshape"] + (["Squeeze"] if x.height == x.width == 1 else [])
    kind = net.choose(kinds)
    if kind == "Reshape":
        return net.op("Reshape", x.name, net.target(x.name, x.channels * x.height * x.width))
    if kind == "Squeeze":
        return net.op("Squeeze", x.name, net.integers(*net.choose(((2, 3), (-1, -2)))))
    return net.op("Flatten", x.name, **net.choose(({}, {"axis": 1}, {"axis": -3})))


def _layers(net: Net, x: str, width: int, classes: int) -> str:
    if net.maybe():
        hidden = net.choose((4, 6, 8))
        x, width = net.op("Relu", _layer(net, x, width, hidden)), hidden
    return _layer(net, x, width, classes)


def _layer(net: Net, x: str, width: int, outputs: int) -> str:
    kind = net.choose(("Gemm, transB", "Gemm", "MatMul"))
    if kind == "MatMul":
        return linear(net, x, width, outputs)
    weight = net.he(outputs, width)
    inputs = [x, net.floats(weight if kind == "Gemm, transB" else weight.T)]
    bias = net.choose(("vector", "none", "row", "scalar"))
    if bias != "none":
        inputs.append(
            net.floats(net.normal(*{"vector": (outputs,), "row": (1, outputs), "scalar": ()}[bias]))
        )
    return net.op("Gemm", *inputs, transB=int(kind == "Gemm, transB"), alpha=net.choose((1.0, 0.5)))


HEADS: tuple[Callable[[Net, Image, int], str], ...] = (pooled, reduced, flattened, convolved, of_tokens)
