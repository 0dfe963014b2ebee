"""What every part of a random network is written with: choices, names, constants and the common layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from onnx import helper

from tests.builder import Builder

T = TypeVar("T")
WIDTHS = (4, 6, 8, 12)
WIDEST = 24


class Choose(Protocol):
    """Picks one of several options; the first is the simplest."""

    def __call__(self, options: Sequence[T], /) -> T: ...


@dataclass(frozen=True)
class Image:
    """A tensor of shape (N, channels, height, width)."""

    name: str
    channels: int
    height: int
    width: int


class Net(Builder):
    """A network that grows by choices; every node carries the name of the part it belongs to."""

    def __init__(self, choose: Choose, opset: int, batch: str | int, seed: int) -> None:
        super().__init__(seed)
        self.choose = choose
        self.opset = opset
        self.batch = batch
        self._part = ""
        self._count = 0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Nodes written inside are called ``/name_3/...``."""
        before, self._part = self._part, f"{self._part}/{name}_{self._next()}"
        yield
        self._part = before

    def _next(self) -> int:
        self._count += 1
        return self._count

    def maybe(self) -> bool:
        return self.choose((False, True))

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output, whose name is returned."""
        return self.ops(op, inputs, 1, **attributes)[0]

    def ops(self, op: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """A node with several outputs."""
        name = f"{self._part}/{op}_{self._next()}"
        names = [f"{name}_output_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=name, **attributes))
        return names

    def floats(self, values: np.ndarray | Sequence[float] | float) -> str:
        """A new float32 constant."""
        return self.constant(f"{self._part}/float_{self._next()}", np.asarray(values, np.float32))

    def integers(self, *values: int) -> str:
        """A new int64 vector."""
        return self.constant(f"{self._part}/int_{self._next()}", np.array(values, np.int64))

    def number(self, value: int) -> str:
        """A new int64 scalar."""
        return self.constant(f"{self._part}/int_{self._next()}", np.array(value, np.int64))

    def uniform(self, *shape: int) -> np.ndarray:
        return self.rng.uniform(0.5, 1.5, shape).astype(np.float32)

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.normal(0, 0.3, shape).astype(np.float32)

    def reduce(self, op: str, x: str, axes: Sequence[int], *, keepdims: int = 1) -> str:
        """Axes are an attribute of ReduceMean up to opset 17, an input of it from 18 on."""
        if self.opset < 18:
            return self.op(op, x, axes=list(axes), keepdims=keepdims)
        return self.op(op, x, self.integers(*axes), keepdims=keepdims)

    def shape(self, x: str, *sizes: int) -> str:
        """The shape (batch of ``x``, *sizes), found when the network runs."""
        first = self.op("Gather", self.op("Shape", x), self.number(0), axis=0)
        first = self.op("Unsqueeze", first, self.integers(0))
        return self.op("Concat", first, self.integers(*sizes), axis=0)

    def target(self, x: str, *sizes: int) -> str:
        """The shape (batch, *sizes) as exporters write it: 0 or the number, or computed from ``x``."""
        style = self.choose(("zero", "minus one", "shape"))
        if style == "shape":
            return self.shape(x, *sizes)
        return self.integers(0 if style == "zero" or -1 in sizes else -1, *sizes)


def conv(
    net: Net,
    x: Image,
    cout: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    dilation: int = 1,
    group: int = 1,
    weight: str = "",
    bias: bool | None = None,
) -> Image:
    """A convolution that keeps the image's size at stride 1."""
    weight = weight or net.floats(net.he(cout, x.channels // group, kernel, kernel))
    inputs = [x.name, weight]
    if net.maybe() if bias is None else bias:
        inputs.append(net.floats(net.normal(cout)))
    pad = dilation * (kernel // 2)
    attributes = {"kernel_shape": [kernel] * 2, "pads": [pad] * 4, "strides": [stride] * 2, "group": group}
    name = net.op("Conv", *inputs, dilations=[dilation] * 2, **attributes)
    return Image(name, cout, -(-x.height // stride), -(-x.width // stride))


def batch_norm(net: Net, x: Image) -> Image:
    c = x.channels
    parameters = (net.uniform(c), net.normal(c), net.normal(c), net.uniform(c))
    name = net.op("BatchNormalization", x.name, *map(net.floats, parameters), epsilon=1e-5)
    return renamed(x, name)


def renamed(x: Image, name: str) -> Image:
    """A tensor of the same shape."""
    return Image(name, x.channels, x.height, x.width)


def linear(net: Net, x: str, cin: int, cout: int, *, bias: bool = True) -> str:
    """MatMul and Add over the last axis."""
    x = net.op("MatMul", x, net.floats(net.he(cout, cin).T))
    if not bias:
        return x
    operands = (x, net.floats(net.normal(cout)))
    return net.op("Add", *net.choose((operands, operands[::-1])))
