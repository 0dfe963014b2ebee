"""Parts of a network at low resolution are kept channel-major: (1, C, H*W*N) instead of (N, C, H, W).

ONNX Runtime computes a convolution's gradient image by image. Where an image has few pixels each of
those matrix products is tiny; with the pixels of the whole batch in one row per channel they become
one large product. BatchNormalization, Relu, Concat and other elementwise operators do not care.
The weights keep their names and shapes, and the numbers are the same but for the order of summation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.training.lowering import channel_ops, edit, small_conv
from onnxcomp.training.lowering.average_pool import tiles
from onnxcomp.training.lowering.base import Lowering
from onnxcomp.training.lowering.channel_ops import Dims
from onnxcomp.training.lowering.parameters import Training

MAX_PIXELS = 64  # above, the convolutions of single images are large enough
UNARY = (
    "Relu",
    "LeakyRelu",
    "Clip",
    "Sigmoid",
    "Tanh",
    "FakeQuant",
    "BatchNormInternal",
    "BatchNormalization",
)
BINARY = ("Add", "Sub", "Mul", "Div")
Emit = Callable[[gs.Graph, gs.Node, Dims, Dims], None]


def lower_channel_major(
    graph: gs.Graph, max_pixels: int = MAX_PIXELS, small_convs: dict[str, tuple[Dims, Dims]] | None = None
) -> int:
    """Rewrite the regions where it pays; returns how many nodes they hold.

    Args:
        graph: sorted, with the static shape of every tensor.
        max_pixels: regions contain images of at most so many pixels.
        small_convs: receives, by name, the input and output sizes of convolutions that regions
            contain and that are still to be written (see :mod:`.small_conv`); None for none of them.
    """
    eligible = _eligible_nodes(graph, max_pixels, small_convs is not None)
    chosen = [region for region in _regions(eligible) if _pays(region)]
    nodes = {id(node): node for region in chosen for node in region}
    if nodes:
        if small_convs is not None:
            small_convs.update(
                (node.name, (Dims(*node.inputs[0].shape), Dims(*node.outputs[0].shape)))
                for node in nodes.values()
                if _is_small_conv(node)
            )
        _rewrite(graph, nodes)
        edit.settle(graph)
    return len(nodes)


def _eligible_nodes(graph: gs.Graph, max_pixels: int, small: bool) -> dict[int, gs.Node]:
    results = {id(tensor) for tensor in graph.outputs}
    found: dict[int, gs.Node] = {}
    for node in graph.nodes:
        if not _eligible(node, max_pixels, small) or id(node.outputs[0]) in results:
            continue
        # A pool that would be the first of its region had better change layout after it shrinks.
        if node.op == "AveragePool" and not any(id(n) in found for n in node.inputs[0].inputs):
            continue
        found[id(node)] = node
    return found


def _dims(tensor: gs.Tensor) -> Dims | None:
    shape = tensor.shape
    if isinstance(tensor, gs.Constant) or shape is None or len(shape) != 4:
        return None
    return Dims(*shape) if all(isinstance(size, int) for size in shape) else None


def _size(tensor: gs.Tensor) -> int:
    dims = _dims(tensor)
    return 0 if dims is None else dims.size


def _worth(tensor: gs.Tensor) -> int:
    dims = _dims(tensor)
    return 0 if dims is None else dims.size * (2 if dims.pixels <= 4 else 1)


def _images(node: gs.Node) -> list[gs.Tensor]:
    """The inputs of ``node`` that change layout."""
    if node.op in ("Concat", *BINARY):
        return [t for t in node.inputs if not isinstance(t, gs.Constant)]
    return [node.inputs[0]]


def _layout_tensors(node: gs.Node) -> list[gs.Tensor]:
    return [*_images(node), node.outputs[0]]


def _readers(tensor: gs.Tensor) -> list[gs.Node]:
    """Nodes that read ``tensor`` as an image."""
    return [node for node in tensor.outputs if any(t is tensor for t in _images(node))]


def _eligible(node: gs.Node, max_pixels: int, small: bool) -> bool:
    if node.name.startswith(graphs.LOSS_PREFIX):
        return False
    tensors = [_dims(t) for t in [*_images(node), node.outputs[0]]] if node.inputs else []
    if not tensors or any(d is None or d.pixels > max_pixels for d in tensors):
        return False
    if node.op in UNARY:
        return True
    if node.op == "Concat":
        return node.attrs["axis"] in (1, -3) and len(_images(node)) == len(node.inputs)
    if node.op in BINARY:
        constants = [t for t in node.inputs if isinstance(t, gs.Constant)]
        return len(set(tensors)) == 1 and all(t.values.size == 1 for t in constants)
    return _emitter(node) is not None or (small and _is_small_conv(node))


def _emitter(node: gs.Node) -> Emit | None:
    """How a node that is not elementwise is written in channel-major form, if it is written here."""
    if node.op == "AveragePool":
        return channel_ops.average_pool if tiles(node) else None
    pointwise = node.op == "Conv" and list(node.inputs[1].shape[2:]) == [1, 1]
    plain = not any(node.attrs.get("pads", ())) and set(node.attrs.get("strides", (1,))) == {1}
    return channel_ops.pointwise_conv if pointwise and plain and node.attrs.get("group", 1) == 1 else None


def _is_small_conv(node: gs.Node) -> bool:
    source, target = _dims(node.inputs[0]), _dims(node.outputs[0])
    if node.op != "Conv" or source is None or target is None:
        return False
    return _emitter(node) is None and small_conv.form_of(node, source, target) is not None


def _regions(eligible: dict[int, gs.Node]) -> Iterator[list[gs.Node]]:
    """Groups of eligible nodes connected by a tensor, be it one that they only read."""
    seen: set[int] = set()
    for start in eligible.values():
        if id(start) in seen:
            continue
        region, frontier = [], [start]
        seen.add(id(start))
        while frontier:
            node = frontier.pop()
            region.append(node)
            around = [n for t in _layout_tensors(node) for n in [*t.inputs, *_readers(t)]]
            for other in around:
                if id(other) in eligible and id(other) not in seen:
                    seen.add(id(other))
                    frontier.append(other)
        yield region


def _pays(region: list[gs.Node]) -> bool:
    """Whether its convolutions read and write more than the tensors that must change layout.

    Measured: a single convolution between two changes of layout breaks even at 4x4 pixels and
    above, and takes half the time at 2x2.
    """
    inside = {id(node) for node in region}
    tensors = {id(t): t for node in region for t in _layout_tensors(node)}
    crossing = sum(
        _size(tensor)
        for tensor in tensors.values()
        if any(id(node) not in inside for node in [*tensor.inputs, *tensor.outputs]) or not tensor.inputs
    )
    convolved = sum(_worth(t) for node in region if node.op == "Conv" for t in _layout_tensors(node))
    return convolved > crossing


def _rewrite(graph: gs.Graph, nodes: dict[int, gs.Node]) -> None:
    emits = [(node, _emitter(node)) for node in nodes.values()]
    tensors = {id(t): t for node in nodes.values() for t in _layout_tensors(node)}
    sizes = {key: dims for key, tensor in tensors.items() if (dims := _dims(tensor)) is not None}
    for key, tensor in tensors.items():
        inner = [node for node in tensor.outputs if id(node) in nodes]
        outer = [node for node in tensor.outputs if id(node) not in nodes]
        if not any(id(node) in nodes for node in tensor.inputs):
            converted = channel_ops.to_channels(graph, tensor, sizes[key])
            sizes[id(converted)] = sizes[key]
            graphs.rewire(tensor, converted, inner)
        elif outer:
            graphs.rewire(tensor, channel_ops.to_images(graph, tensor, sizes[key]), outer)
    for node, emit in emits:
        target = sizes[id(node.outputs[0])]
        node.outputs[0].shape = [1, target.channels, target.columns]
        _take_axes_away(node)
        if emit is not None:
            emit(graph, node, sizes[id(node.inputs[0])], target)


def _take_axes_away(node: gs.Node) -> None:
    """What says that there are four axes, of a node that now has tensors of three."""
    if node.op == "Concat":
        node.attrs["axis"] = 1
    for index, tensor in enumerate(node.inputs if node.op in BINARY else ()):
        if isinstance(tensor, gs.Constant):
            node.inputs[index] = edit.scalar(f"{node.outputs[0].name}.{index}", tensor.values.item())


def _lower(training: Training) -> int:
    small = None if small_conv.LOWERING.name in training.without else training.small_convs
    return lower_channel_major(training.graph, small_convs=small)


LOWERING = Lowering(
    "channel-major",
    f"regions of at most {MAX_PIXELS} pixels an image whose convolutions outweigh the changes of layout",
    _lower,
)
