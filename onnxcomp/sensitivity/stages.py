"""A network as a row of stages, and the tensors that are alive between them.

What lies before the stage of a layer need not be run again when that layer's weight changes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs, macs, runtime, shape_inference
from onnxcomp.fold_shapes import fold_shapes
from onnxcomp.model import Model, to_proto
from onnxcomp.training.lowering import channel_major, edit, small_conv
from onnxcomp.training.lowering.channel_ops import Dims

STAGES = 40
"""At most so many: with more, less is computed anew for each layer and more sessions are built."""
CHANNEL_MAJOR_PIXELS = 16
"""Up to so many pixels an image, convolutions run faster over the pixels of all images together: DenseNet201
on images of 32x32 takes two thirds of the time, with 64 pixels more again."""
CLIPPING = ("Relu", "Clip")
"""No stage begins with one of these: ONNX Runtime takes one that a QuantizeLinear follows away, as that clips
too, and cannot do so where it reads an input of the graph (1.19.2: "RemoveNode Should be unreachable")."""
UNKNOWN = 2**62
"""Values of a tensor whose shape is not known: more than there is room for."""


@dataclass(frozen=True)
class Cut:
    """A place between two nodes.

    Attributes:
        alive: names of the tensors that later nodes read and that depend on the image.
        layers: nodes with a weight before it.
        cost: their multiply-accumulates, for one image.
        size: values of ``alive`` for one image.
        clipped: one of ``alive`` is read by a node that clips it.
    """

    alive: tuple[str, ...]
    layers: int
    cost: int
    size: int
    clipped: bool


def static(model: Model, batch: int) -> Model:
    """A copy whose tensors have the static shapes of ``batch`` images, as far as they can be known."""
    graph = model.graph.copy()
    image = next(tensor for tensor in graph.inputs if tensor.name == model.image.name)
    image.shape = [batch, *image.shape[1:]]
    shape_inference.fill(graph)
    fold_shapes(graph)
    return replace(model, graph=graph)


def cuts(model: Model) -> Iterator[Cut]:
    """Every place of a student's graph, from before its first node to behind its last."""
    work = {id(weight.node): macs.macs(weight) or 0 for weight in graphs.weights(model.graph)}
    image, logits = model.image, model.logits
    alive, unread = {id(image): image}, Counter({id(image): len(image.outputs)})
    layers, cost, size, done = 0, 0, _size(image), set[int]()
    yield Cut((image.name,), layers, cost, size, clipped=False)
    for node in model.graph.nodes:
        read = [tensor for tensor in node.inputs if id(tensor) in alive]
        if not read:
            continue  # computed from constants
        layers += id(node) in work
        cost += work.get(id(node), 0)
        for tensor in read:
            unread[id(tensor)] -= 1
            if not unread[id(tensor)]:
                del alive[id(tensor)]
                size -= _size(tensor)
        for tensor in node.outputs:
            if tensor.outputs or tensor is logits:
                alive[id(tensor)] = tensor
                unread[id(tensor)] = len(tensor.outputs)
                size += _size(tensor)
        done.add(id(node))
        names = tuple(tensor.name for tensor in alive.values())
        waiting = (reader for tensor in alive.values() for reader in tensor.outputs if id(reader) not in done)
        yield Cut(names, layers, cost, size, clipped=any(reader.op in CLIPPING for reader in waiting))


def _size(tensor: gs.Tensor) -> int:
    shape = tensor.shape
    if shape is None or not all(isinstance(size, int) for size in shape[1:]):
        return UNKNOWN
    return math.prod(shape[1:])


def boundaries(model: Model, *, most: int = STAGES, room: float = math.inf) -> list[Cut]:
    """Cuts between stages of about as many layers: before the first node, some between, behind the last.

    Args:
        most: stages at most.
        room: values that may be alive between two stages for one image.
    """
    first, *between, last = cuts(model)
    fitting = [cut for cut in between if cut.size <= room and not cut.clipped]
    count = min(most, last.layers)
    goals = [part * last.layers / count for part in range(1, count)] if fitting else []
    chosen = {min(fitting, key=lambda cut: (abs(cut.layers - goal), cut.size)) for goal in goals}
    return [first, *(cut for cut in fitting if cut in chosen), last]


def piece(model: Model, source: Collection[str], target: Sequence[str]) -> Model:
    """The part of a network that computes the tensors ``target``, but those in ``source``, from ``source``.

    Its inputs are those of ``source`` that it reads. Values of constants are shared with ``model``.
    """
    whole = model.graph
    tensors = whole.tensors()
    starts = [tensors[name] for name in source]
    ends = [tensors[name] for name in target if name not in source]
    needed = _nodes_behind(ends, {id(tensor) for tensor in starts})
    # Of these alone, and not of the whole with the others taken away: that takes seconds for all stages.
    graph = gs.Graph(
        [node for node in whole.nodes if id(node) in needed],
        [tensor for tensor in starts if any(id(node) in needed for node in tensor.outputs)],
        ends,
        name=whole.name,
        opset=whole.opset,
        import_domains=whole.import_domains,
    ).copy()
    for tensor in graph.inputs:
        tensor.inputs.clear()
    return replace(model, graph=graph)


def _nodes_behind(ends: Sequence[gs.Tensor], starts: Collection[int]) -> set[int]:
    found: set[int] = set()
    waiting = list(ends)
    while waiting:
        tensor = waiting.pop()
        for node in tensor.inputs if id(tensor) not in starts else ():
            if id(node) not in found:
                found.add(id(node))
                waiting.extend(node.inputs)
    return found


def with_weight_as_input(part: Model, name: str) -> Model:
    """A copy of a piece that reads the weight ``name`` as its last input."""
    graph = part.graph.copy()
    constant = graph.tensors()[name]
    variable = constant.to_variable(np.float32, list(constant.shape))
    variable.type = "tensor_type"  # which to_variable forgets
    graph.inputs.append(variable)
    return replace(part, graph=graph)


def session(part: Model, *, threads: int) -> Any:
    """An ``onnxruntime.InferenceSession`` of a piece; its Q/DQ pairs round in float32."""
    data = to_proto(part).SerializeToString()
    return runtime.session_of_proto(data, threads=threads, integer=False)


def speed_up(part: Model) -> Model:
    """Let convolutions over few pixels be products over the whole batch, as they are in training; in place.

    And a pool of one pixel, for which ONNX Runtime takes as long as for many, is left out.

    Args:
        part: of a :func:`static` model.
    """
    graph = part.graph
    for node in graph.nodes:
        if node.op == "GlobalAveragePool" and list(node.inputs[0].shape or ())[2:] == [1, 1]:
            node.op = "Identity"
    small: dict[str, tuple[Dims, Dims]] = {}
    channel_major.lower_channel_major(graph, CHANNEL_MAJOR_PIXELS, small)
    for node in [node for node in graph.nodes if node.op == "Conv" and node.name in small]:
        source, target = small[node.name]
        form = small_conv.form_of(node, source, target)
        assert form is not None
        form(graph, node, source, target)
    edit.settle(graph)
    return part


def of_nodes(parts: Sequence[Model]) -> dict[str, tuple[int, int]]:
    """First and last of the pieces that hold each node, by its name: several, if it reads constants alone."""
    found: dict[str, tuple[int, int]] = {}
    for index, part in enumerate(parts):
        for node in part.graph.nodes:
            first, _ = found.get(node.name, (index, index))
            found[node.name] = (first, index)
    return found
