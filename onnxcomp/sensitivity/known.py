"""What of a piece of a network stays the same from run to run is computed once.

A network whose later layers read the concatenation of earlier ones (DenseNet) has little behind a layer that
depends on that layer alone, but much that depends on it in part. A convolution is linear: what it adds up
over the channels that stay the same, it adds up once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.training.lowering import edit

CHANNEL_BY_CHANNEL = (
    *(
        "BatchNormalization",
        "Relu",
        "LeakyRelu",
        "Clip",
        "Sigmoid",
        "Tanh",
        "HardSwish",
        "HardSigmoid",
        "Elu",
        "QuantizeLinear",
        "DequantizeLinear",
    ),
    *("AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool"),
)


@dataclass(frozen=True)
class Parted:
    """A tensor (N, C, ...) as two, of the channels that stay the same and of those that move.

    Attributes:
        known, moving: tensors.
        known_at, moving_at: which channels of the whole these are.
    """

    known: gs.Tensor
    moving: gs.Tensor
    known_at: tuple[int, ...]
    moving_at: tuple[int, ...]


def part(graph: gs.Graph, fixed: Collection[str]) -> None:
    """Rewrite, in place, what depends on the inputs ``fixed`` and on others so that as much as possible
    depends on ``fixed`` alone.

    Args:
        graph: sorted, with static shapes.
    """
    moving = {id(tensor) for tensor in graph.inputs if tensor.name not in fixed}
    parted: dict[int, Parted] = {}
    for node in list(graph.nodes):
        if not any(id(tensor) in moving for tensor in node.inputs):
            continue
        moving.update(id(tensor) for tensor in node.outputs)
        output = node.outputs[0]
        source = parted.get(id(node.inputs[0]))
        if node.op == "Concat" and _along_channels(node):
            found = _part_concat(graph, node, moving, parted)
            if found is not None:
                parted[id(output)] = found
        elif source is not None and _channel_by_channel(node):
            parted[id(output)] = _part_channels(graph, node, source)
        elif source is not None and node.op == "Conv" and _splittable(node):
            _part_conv(graph, node, source)
    graph.cleanup().toposort()


def boundary(graph: gs.Graph, fixed: Collection[str]) -> list[str]:
    """Tensors that depend on the inputs ``fixed`` alone and are outputs, or read by nodes that do not."""
    moving = {id(tensor) for tensor in graph.inputs if tensor.name not in fixed}
    known = {id(tensor) for tensor in graph.inputs if tensor.name in fixed}
    found: dict[str, None] = {}
    for node in graph.nodes:
        moves = any(id(tensor) in moving for tensor in node.inputs)
        read = [tensor for tensor in node.inputs if id(tensor) in known]
        if moves:
            moving.update(id(tensor) for tensor in node.outputs)
            found.update((tensor.name, None) for tensor in read)
        elif read:
            known.update(id(tensor) for tensor in node.outputs)
    found.update((tensor.name, None) for tensor in graph.outputs if id(tensor) in known)
    return list(found)


def _part_concat(
    graph: gs.Graph, node: gs.Node, moving: Collection[int], parted: dict[int, Parted]
) -> Parted | None:
    still: list[tuple[gs.Tensor, Sequence[int]]] = []
    changing: list[tuple[gs.Tensor, Sequence[int]]] = []
    start = 0
    for tensor in node.inputs:
        if tensor.shape is None or not isinstance(tensor.shape[1], int):
            return None
        found = parted.get(id(tensor))
        if found is not None:
            still.append((found.known, [start + at for at in found.known_at]))
            changing.append((found.moving, [start + at for at in found.moving_at]))
        else:
            places = range(start, start + tensor.shape[1])
            (changing if id(tensor) in moving else still).append((tensor, places))
        start += tensor.shape[1]
    if not still:
        return None
    return Parted(
        _joined(graph, node, "known", still),
        _joined(graph, node, "moving", changing),
        tuple(at for _, places in still for at in places),
        tuple(at for _, places in changing for at in places),
    )


def _along_channels(node: gs.Node) -> bool:
    rank = len(node.inputs[0].shape or ())
    return rank >= 2 and node.attrs["axis"] % rank == 1


def _joined(
    graph: gs.Graph, node: gs.Node, what: str, parts: Sequence[tuple[gs.Tensor, Sequence[int]]]
) -> gs.Tensor:
    tensors = [tensor for tensor, _ in parts]
    if len(tensors) == 1:
        return tensors[0]
    output = _like(node.outputs[0], what, sum(len(places) for _, places in parts))
    return edit.insert(graph, "Concat", tensors, output, axis=1)


def _channel_by_channel(node: gs.Node) -> bool:
    constants = node.inputs[1:]
    if node.op not in CHANNEL_BY_CHANNEL or len(node.outputs) != 1:
        return False
    if node.op in ("QuantizeLinear", "DequantizeLinear") and constants[0].shape:
        return False  # a scale for each channel
    return all(isinstance(tensor, gs.Constant) for tensor in constants)


def _part_channels(graph: gs.Graph, node: gs.Node, source: Parted) -> Parted:
    known, moving = (
        edit.insert(
            graph,
            node.op,
            [tensor, *_constants(node, what, places)],
            _like(node.outputs[0], what, len(places)),
            **node.attrs,
        )
        for what, tensor, places in _both(source)
    )
    return Parted(known, moving, source.known_at, source.moving_at)


def _both(source: Parted) -> Iterator[tuple[str, gs.Tensor, tuple[int, ...]]]:
    yield "known", source.known, source.known_at
    yield "moving", source.moving, source.moving_at


def _constants(node: gs.Node, what: str, places: tuple[int, ...]) -> Iterator[gs.Tensor]:
    """The other inputs: a value for each of the channels, or one for all."""
    for index, tensor in enumerate(node.inputs[1:]):
        if node.op == "BatchNormalization":
            name = f"{edit.PREFIX}{node.outputs[0].name}.{what}.{index}"
            yield gs.Constant(name, tensor.values[list(places)])
        else:
            yield tensor


def _splittable(node: gs.Node) -> bool:
    return node.attrs.get("group", 1) == 1 and isinstance(node.inputs[1], gs.Constant)


def _part_conv(graph: gs.Graph, node: gs.Node, source: Parted) -> None:
    weight, *bias = node.inputs[1:]
    attrs, output = dict(node.attrs), edit.take_output(node)
    sums = []
    for what, tensor, places in _both(source):
        name = f"{edit.PREFIX}{output.name}.{what}.weight"
        chosen = gs.Constant(name, np.ascontiguousarray(weight.values[:, list(places)]))
        inputs = [tensor, chosen, *(bias if what == "known" else [])]
        sums.append(edit.insert(graph, "Conv", inputs, _like(output, what, output.shape[1]), **attrs))
    edit.insert(graph, "Add", sums, output)


def _like(tensor: gs.Tensor, what: str, channels: int) -> gs.Variable:
    found = edit.variable(f"{tensor.name}.{what}", shape=[tensor.shape[0], channels, *tensor.shape[2:]])
    found.dtype = tensor.dtype
    return found
