"""Some layers in INT8 and the others float: which Q/DQ pairs that leaves.

A layer is a weight and all nodes that compute with it, and is called as the weight. With some layers kept:

1. A weight's pair stays where its layer is kept.
2. A layer reads its input through a pair where it is kept. Operators that only move values on the way from
   the pair to the layer change nothing about that.
3. What else reads through a pair (residual sums, Concats, pooling, standalone BatchNormalization, ...) lies
   between layers: those that are the next before it and those that are the next behind it, through any
   operators that are not quantised layers. It goes on reading through the pair where at least one before it
   and at least one behind it is kept; a side where there is none, as between the image and the first layer,
   does not count.

Whatever does not read through a pair any more reads what the pair reads. So the pairs of a Concat in a dense
block stay when one layer of the block is left float, and those of a single quantised layer are its weight's
and its input's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.errors import PassError
from onnxcomp.model import Model, Role
from onnxcomp.passes.qat.placement.walk import PASSED


def layers(model: Model) -> tuple[str, ...]:
    """Names of the quantised weights, in the order of the graph."""
    return tuple(dict.fromkeys(layers_of(model.graph).values()))


def only(model: Model, keep: Collection[str]) -> Model:
    """A copy of a compression form in which no other layers than ``keep`` are quantised.

    With all of them it is the same network, with none the float one.

    Args:
        keep: of :func:`layers`.

    Raises:
        PassError: one of them is no quantised layer.
    """
    copy = model.copy()
    restrict(copy, keep)
    return copy


def without(model: Model, left: Collection[str]) -> Model:
    """A copy of a compression form in which the layers ``left`` are float.

    Raises:
        PassError: one of them is no quantised layer.
    """
    _check(model, left)
    return only(model, [name for name in layers(model) if name not in left])


def restrict(model: Model, keep: Collection[str]) -> None:
    """:func:`only`, in place."""
    _check(model, keep)
    around = _Around(model.graph, keep)
    for pair in list(graphs.quantizers(model.graph)):
        dequantized = pair.dequantize.outputs[0]
        gone = [node for node in dequantized.outputs if not around.stays(node)]
        graphs.rewire(dequantized, pair.source, gone)
    _remove_unread(model)


def _check(model: Model, names: Collection[str]) -> None:
    known = set(layers(model))
    for name in names:
        if name not in known:
            raise PassError(f"no quantised layer is called {name}", where="qat", fix="see onnxcomp inspect")


def layers_of(graph: gs.Graph) -> dict[int, str]:
    """Names of the quantised layers by the ids of their nodes, in the order of the graph."""
    return {
        id(weight.node): weight.name
        for weight in graphs.weights(graph)
        if any(node.op == "DequantizeLinear" for node in weight.node.inputs[weight.index].inputs)
    }


class _Around:
    """Which quantised layers lie next to each node, and which of them are kept.

    Sets of layers are the bits of an integer.
    """

    def __init__(self, graph: gs.Graph, keep: Collection[str]) -> None:
        self._names = layers_of(graph)
        bits = {name: 1 << index for index, name in enumerate(dict.fromkeys(self._names.values()))}
        self._own = {node: bits[name] for node, name in self._names.items()}
        self._kept = sum(bits[name] for name in set(keep))
        self._before: dict[int, int] = {}
        self._behind: dict[int, int] = {}
        nodes = [node for node in graph.nodes if graphs.is_student(node)]
        for node in nodes:
            self._before[id(node)] = self._join(self._before, (n for t in node.inputs for n in t.inputs))
        for node in reversed(nodes):
            self._behind[id(node)] = self._join(self._behind, (n for t in node.outputs for n in t.outputs))

    def _join(self, found: dict[int, int], nodes: Iterator[gs.Node]) -> int:
        union = 0
        for node in nodes:
            union |= self._own.get(id(node)) or found.get(id(node), 0)
        return union

    def stays(self, reader: gs.Node) -> bool:
        """Whether ``reader`` goes on reading through a pair."""
        if not self._kept:
            return False
        own = self._own.get(id(reader)) or self._moved_to(reader)
        if own & self._kept:
            return True
        if id(reader) in self._own:
            return False
        sides = self._before.get(id(reader), 0), self._behind.get(id(reader), 0)
        return all(not side or side & self._kept for side in sides)

    def _moved_to(self, node: gs.Node) -> int:
        """Layers that read what ``node`` has only moved."""
        if node.op not in PASSED:
            return 0
        readers = [reader for tensor in node.outputs for reader in tensor.outputs]
        return self._join({id(reader): self._moved_to(reader) for reader in readers}, iter(readers))


def _remove_unread(model: Model) -> None:
    """Take away the pairs that nobody reads, and the roles of scales that are gone with them."""
    graph = model.graph
    results = {id(tensor) for tensor in graph.outputs}
    for pair in list(graphs.quantizers(graph)):
        dequantized = pair.dequantize.outputs[0]
        if not dequantized.outputs and id(dequantized) not in results:
            for node in (pair.dequantize, pair.quantize):
                node.inputs.clear()
                node.outputs.clear()
    graph.nodes = [node for node in graph.nodes if node.outputs]
    scales = {pair.scale.name for pair in graphs.quantizers(graph)}
    model.roles = {
        name: role
        for name, role in model.roles.items()
        if role not in (Role.SCALE, Role.LEARNED_SCALE) or name in scales
    }
