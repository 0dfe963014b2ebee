"""Channels that change place: Concat, Split, Slice, Gather and the shuffle of ShuffleNet."""

from __future__ import annotations

from tests.random_graphs.net import WIDEST, Image, Net, batch_norm, conv, renamed


def concat(net: Net, *parts: Image) -> Image:
    axis = net.choose((1, -3))
    first = parts[0]
    name = net.op("Concat", *(part.name for part in parts), axis=axis)
    return Image(name, sum(part.channels for part in parts), first.height, first.width)


def narrowed(net: Net, x: Image, most: int) -> Image:
    """``x``, or a convolution of it where it is wider than ``most``."""
    return x if x.channels <= most else conv(net, x, net.choose((4, 6)))


def dense(net: Net, x: Image) -> Image:
    """DenseNet: each layer reads all before it, through BatchNormalization and Relu."""
    x = narrowed(net, x, 12)
    for _ in range(net.choose((1, 2))):
        y = renamed(x, net.op("Relu", batch_norm(net, x).name))
        x = concat(net, x, conv(net, y, net.choose((4, 6)), kernel=3, bias=False))
    return x


def branches(net: Net, x: Image) -> Image:
    """Two or three tensors side by side, some of them twice."""
    x = narrowed(net, x, 8)
    kind = net.choose(("two", "three", "twice", "once between"))
    if kind == "twice":
        return concat(net, x, x)
    y = conv(net, x, net.choose((4, 6, 8)))
    if kind == "two":
        return concat(net, x, y)
    if kind == "three":
        return concat(net, y, conv(net, x, net.choose((4, 6))), x)
    return concat(net, x, conv(net, x, 4), x)


def split(net: Net, x: Image) -> Image:
    """Parts of equal or given sizes that several nodes read, put together in another order."""
    x = narrowed(net, x, 12)
    if x.channels % 2 == 0 and net.maybe():
        sizes = [x.channels // 2] * 2
        inputs, attributes = [x.name], {"num_outputs": 2} if net.opset >= 18 else {}
        if net.maybe():
            inputs, attributes = [x.name, net.integers(*sizes)], {}
    else:
        sizes = [1, x.channels - 1] if net.maybe() else [2, x.channels - 3, 1]
        inputs, attributes = [x.name, net.integers(*sizes)], {}
    names = net.ops("Split", inputs, len(sizes), axis=net.choose((1, -3)), **attributes)
    parts = [Image(n, s, x.height, x.width) for n, s in zip(names, sizes, strict=True)]
    if len(set(sizes)) == 1 and net.maybe():
        return renamed(parts[0], net.op(net.choose(("Add", "Mul", "Max")), *names))
    if net.maybe():
        parts[0] = conv(net, parts[0], net.choose((4, 6)))
    if net.maybe():
        parts.append(parts[0])
    return concat(net, *net.choose((parts, parts[::-1])))


def cut_out(net: Net, x: Image) -> Image:
    """Slice along channels: a range, every second, from behind, or backwards; or along the image."""
    c = x.channels
    ranges = (
        (1, c, 1),
        (0, c, 2),
        (-3, 2**31 - 1, 1),
        (0, -1, 1),
        (c, -(2**63), -1),
        (-1, -c, -2),
        (-c, -1, 2),
        (0, 2**63 - 1, 3),
    )
    if min(x.height, x.width) > 4 and net.choose(("channels", "image")) == "image":
        ends, steps = net.integers(x.height, x.width), net.integers(2, 1)
        name = net.op("Slice", x.name, net.integers(0, 1), ends, net.integers(2, 3), steps)
        return Image(name, c, -(-x.height // 2), x.width - 1)
    start, end, step = net.choose(ranges)
    inputs = [net.integers(start), net.integers(end), net.integers(net.choose((1, -3)))]
    if step != 1 or net.maybe():
        inputs.append(net.integers(step))
    count = len(range(c)[slice(start, None if end < -c else end, step)])
    return Image(net.op("Slice", x.name, *inputs), count, x.height, x.width)


def gather(net: Net, x: Image) -> Image:
    """Channels by number: another order, a few, some twice, from behind."""
    kind = net.choose(("order", "few", "twice", "behind"))
    count = {"order": x.channels, "few": max(1, x.channels // 2), "twice": min(WIDEST, x.channels + 2)}
    numbers = net.rng.permutation(x.channels)
    if kind == "twice":
        numbers = net.rng.integers(0, x.channels, count[kind])
    elif kind == "behind":
        numbers = numbers - x.channels
    else:
        numbers = numbers[: count[kind]]
    indices = net.integers(*(int(number) for number in numbers))
    name = net.op("Gather", x.name, indices, axis=net.choose((1, -3)))
    return Image(name, len(numbers), x.height, x.width)


def shuffle(net: Net, x: Image) -> Image:
    """Reshape, Transpose and Reshape: channels of the groups take turns."""
    groups = net.choose([g for g in (2, 3, 4) if x.channels % g == 0] or [1])
    c, h, w = x.channels, x.height, x.width
    y = net.op("Reshape", x.name, net.target(x.name, groups, c // groups, h, w))
    y = net.op("Transpose", y, perm=[0, 2, 1, 3, 4])
    return renamed(x, net.op("Reshape", y, net.target(x.name, *net.choose(((c, h, w), (-1, h, w))))))
