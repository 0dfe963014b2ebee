"""Which channels hang together, found by running the network: this knows nothing of what operators mean.

Every weight is taken out and its output becomes an input of the network. Where one channel of that is
changed, the channels of other weights' inputs that change with it are those that read it. Channels that the
same position reads go together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnxcomp import extras

Position = tuple[str, str, int]
"""Name of a weight, ``out`` or ``in``, and a channel; a grouped convolution counts those of one group."""
TRIALS = 6
"""Values that are tried: Relu and the largest of several hide a change now and then."""


@dataclass(frozen=True)
class Layer:
    """A node with a weight: what it writes and reads, and the axis of both that holds channels.

    Attributes:
        passes: each input makes its own outputs, so the node stays in the network.
    """

    weight: str
    output: str
    source: str
    axis: int
    group: int
    passes: bool


def components(proto: onnx.ModelProto) -> tuple[list[set[Position]], set[Position]]:
    """The positions that go together, and those of all positions that cannot go.

    A channel cannot go if the logits hang on it directly, or if it changes every channel of a tensor: all are
    averaged, and so is what meets them there. One that is alone in its tensor stays, and may be spread over
    others. For networks with a free batch.
    """
    network = _Opened(proto)
    parents: dict[Position, Position] = {}
    fixed: set[Position] = set()
    for layer in network.layers:
        if layer.passes:
            continue
        for channel, reached in enumerate(network.reached(layer)):
            own = _written(layer, channel, network.width(layer))
            parents.setdefault(own, own)
            if reached.pop(network.logits).any() or network.width(layer) == 1:
                fixed.add(own)
                continue
            for name, hit in reached.items():
                reader = network.readers[name]
                hits = {_position(reader, int(other), len(hit)) for other in np.flatnonzero(hit)}
                if len(hit) == 1 or not hit.all():
                    for position in hits:
                        _join(parents, own, position)
                else:
                    fixed |= {own, *hits}
    groups: dict[Position, set[Position]] = {}
    for position in parents:
        groups.setdefault(_root(parents, position), set()).add(position)
    return list(groups.values()), {p for group in groups.values() if group & fixed for p in group}


def _written(layer: Layer, channel: int, width: int) -> Position:
    return layer.weight, "out", channel if layer.passes else channel % (width // layer.group)


def _position(reader: Layer, channel: int, width: int) -> Position:
    """Of a tensor that was looked at: what a layer that passes writes, what any other reads."""
    if reader.passes:
        return _written(reader, channel, width)
    return reader.weight, "in", channel % (width // reader.group)


def _join(parents: dict[Position, Position], a: Position, b: Position) -> None:
    parents.setdefault(b, b)
    parents[_root(parents, b)] = _root(parents, a)


def _root(parents: dict[Position, Position], position: Position) -> Position:
    while parents[position] != position:
        position = parents[position]
    return position


def _layers(proto: onnx.ModelProto) -> Iterator[Layer]:
    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.input[1] not in shapes:
            continue
        group = next((a.i for a in node.attribute if a.name == "group"), 1)
        shape = shapes[node.input[1]]
        each = shape[0] // group if node.op_type == "ConvTranspose" else shape[1]
        axis = -1 if node.op_type in ("Gemm", "MatMul") else 1
        yield Layer(node.input[1], node.output[0], node.input[0], axis, group, group > 1 and each == 1)


class _Opened:
    """The network without its weights' nodes."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.layers = list(_layers(proto))
        self.logits = proto.graph.output[0].name
        self.readers = {(la.output if la.passes else la.source): la for la in self.layers}
        removed = {layer.output for layer in self.layers if not layer.passes}
        image = proto.graph.input[0]
        self._shapes = self._measured(proto, {*removed, *self.readers})
        opened = onnx.ModelProto()
        opened.CopyFrom(proto)
        graph = opened.graph
        for part in (graph.node, graph.input, graph.output, graph.value_info):
            del part[:]
        graph.node.extend(node for node in proto.graph.node if node.output[0] not in removed)
        ranks = {name: len(self._shapes[name]) for name in sorted(removed)} | {image.name: 4}
        for name, rank in ranks.items():
            graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank))
        self._inputs = sorted(ranks)
        # What is written nowhere is an input, or itself a weight's output: an Identity makes it an output.
        self._names = sorted({*self.readers, self.logits})
        for index, name in enumerate(self._names):
            graph.node.append(helper.make_node("Identity", [name], [f"seen_{index}"]))
            graph.output.append(onnx.ValueInfoProto(name=f"seen_{index}"))
        self._session = _session(opened)

    @staticmethod
    def _measured(proto: onnx.ModelProto, names: set[str]) -> dict[str, tuple[int, ...]]:
        """Shapes as they are for one image, whatever computes them; the image's too."""
        image = proto.graph.input[0]
        size = [dim.dim_value or 1 for dim in image.type.tensor_type.shape.dim]
        taps = onnx.ModelProto()
        taps.CopyFrom(proto)
        written = sorted(names - {image.name, proto.graph.output[0].name})
        taps.graph.output.extend(onnx.ValueInfoProto(name=name) for name in written)
        values = _session(taps).run(["output", *written], {image.name: np.zeros(size, np.float32)})
        found = dict(zip(["output", *written], (value.shape for value in values), strict=True))
        return found | {image.name: tuple(size)}

    def width(self, layer: Layer) -> int:
        return self._shapes[layer.output][layer.axis]

    def reached(self, layer: Layer) -> list[dict[str, np.ndarray]]:
        """For each channel that ``layer`` makes: by reader, which of the reader's channels change."""
        width = self.width(layer)
        found: list[dict[str, np.ndarray]] = [{} for _ in range(width)]
        for seed in range(TRIALS):
            for name, value in self._changed(layer, width, seed).items():
                axis = 1 if name == self.logits else self.readers[name].axis % value.ndim
                others = tuple(a for a in range(1, value.ndim) if a != axis)
                changed = np.abs(value[1:] - value[:1]) > 1e-4 * np.abs(value).max()
                for channel, hit in enumerate(changed.any(axis=others)):
                    found[channel][name] = hit | found[channel].get(name, np.zeros_like(hit))
        return found

    def _changed(self, layer: Layer, width: int, seed: int) -> dict[str, np.ndarray]:
        """Every reader's input for ``width + 1`` images; in each but the first one channel is changed."""
        rng = np.random.default_rng(seed)
        feeds = {}
        for name in self._inputs:
            value = np.repeat(rng.normal(1, 1, (1, *self._shapes[name][1:])), width + 1, axis=0)
            if name == layer.output:
                for channel in range(width):
                    part = value[channel + 1].swapaxes(0, layer.axis % value.ndim - 1)
                    part[channel] += rng.normal(0, 3, part[channel].shape)
            feeds[name] = value.astype(np.float32)
        return dict(zip(self._names, self._session.run(None, feeds), strict=True))


def _session(proto: onnx.ModelProto):
    runtime = extras.onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return runtime.InferenceSession(proto.SerializeToString(), options)
