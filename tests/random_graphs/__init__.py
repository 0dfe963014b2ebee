"""Random small classifiers, made of what exporters write, for properties that hold of every network.

:func:`build` is a function of the choices it asks for; :func:`classifiers` lets hypothesis choose, so that a
failing example shrinks, and :func:`drawn` a generator of numbers, which is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from tests.random_graphs import branches, layers, moves, tokens
from tests.random_graphs.heads import HEADS, of_tokens
from tests.random_graphs.net import WIDEST, Choose, Image, Net, conv

Block = Callable[[Net, Image], Image]
Head = Callable[[Net, Image, int], str]
BATCHES: tuple[str | int, ...] = ("N", 2)
OPSETS = (17, 13, 14, 15, 16, 18, 19, 20, 21)
DEPTH = 4
PLAIN: tuple[Block, ...] = (
    *(layers.convolution, layers.activation, layers.normalise, layers.pool, layers.affine, layers.depthwise),
    *(layers.grouped, layers.transposed, layers.pad, layers.resize),
    *(moves.dense, moves.branches, moves.split, moves.cut_out, moves.gather, moves.shuffle),
    *(branches.residual, branches.option_a, branches.squeeze_excite, branches.gate),
    *(branches.shared_weight, branches.repeated),
)
TOKENS: tuple[Block, ...] = (tokens.attend, tokens.mix, tokens.convnext)
IMAGE_HEADS = tuple(head for head in HEADS if head is not of_tokens)


def build(
    choose: Choose,
    seed: int = 0,
    *,
    blocks: Sequence[Block] = (*PLAIN, *TOKENS),
    heads: Sequence[Head] = HEADS,
) -> onnx.ModelProto:
    """A classifier of one to :data:`DEPTH` blocks and a head.

    Its input is ``input`` (batch, 3 or 1, 6 to 12, 6 to 12) float32, its output ``output`` (batch, 3 or 5).
    The batch is free or 2, the opset 13 to 21. The name of each node begins with the block that wrote it.

    Args:
        seed: of the weights.
    """
    opset, batch, channels = choose(OPSETS), choose(BATCHES), choose((3, 1))
    height, width, classes = choose((6, 8, 12)), choose((6, 9, 12)), choose((3, 5))
    net = Net(choose, opset, batch, seed)
    x = Image("input", channels, height, width)
    with net.part("stem"):
        x = conv(net, x, choose((4, 6, 8)), kernel=3)
    for _ in range(choose(range(DEPTH + 1))):
        block = choose(blocks)
        with net.part(block.__name__):
            x = block(net, x)
        if x.channels > WIDEST or x.channels < 3:
            with net.part("transition"):
                x = conv(net, x, 6)
    head = choose(heads)
    with net.part(head.__name__):
        logits = head(net, x, classes)
    return net.model(logits, opset, (batch, channels, height, width), classes)


class Network:
    """A network that shows as one line a node, so that a failing example can be read."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto = proto

    def __repr__(self) -> str:
        return "\n".join(["Network", *map(self._line, self.proto.graph.node)])

    def _line(self, node: onnx.NodeProto) -> str:
        constants = {tensor.name: tensor for tensor in self.proto.graph.initializer}
        inputs = (f"{name} {_short(constants[name])}" if name in constants else name for name in node.input)
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        return f"  {', '.join(node.output)} = {node.op_type}({', '.join(inputs)}) {attributes or ''}"


def _short(tensor: onnx.TensorProto) -> str:
    values = onnx.numpy_helper.to_array(tensor)
    return str(values.tolist() if values.dtype == np.int64 else values.shape)


@st.composite
def classifiers(
    draw: DrawFn, /, *, blocks: Sequence[Block] = (*PLAIN, *TOKENS), heads: Sequence[Head] = HEADS
) -> Network:
    """Networks of :func:`build`; small ones first."""
    return Network(build(lambda options: draw(st.sampled_from(options)), blocks=blocks, heads=heads))


def drawn(
    seed: int, *, blocks: Sequence[Block] = (*PLAIN, *TOKENS), heads: Sequence[Head] = HEADS
) -> onnx.ModelProto:
    """The network that a generator started with ``seed`` chooses."""
    rng = np.random.default_rng(seed)
    return build(lambda options: options[int(rng.integers(len(options)))], seed, blocks=blocks, heads=heads)
