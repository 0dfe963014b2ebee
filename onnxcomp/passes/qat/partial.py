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

from collections.abc import Collection, Iterable

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
    around = Around(model.graph)
    kept = around.bits(keep)
    for pair in list(graphs.quantizers(model.graph)):
        dequantized = pair.dequantize.outputs[0]
        gone = [node for node in dequantized.outputs if not around.stays(node, kept)]
        graphs.rewire(dequantized, pair.source, gone)
    _remove_unread(model)


def restore(model: Model, reference: Model) -> None:
    """Give the weights of layers that are float the values of the float network, in place.

    What learned to round left those that INT8 can hold.

    Args:
        reference: its weights have the same names and shapes.
    """
    known, quantised = reference.constants(), set(layers(model))
    for weight in graphs.weights(model.graph):
        if weight.name not in quantised and weight.name in known:
            weight.tensor.values = known[weight.name].values


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


class Around:
    """Which quantised layers lie next to each node of a graph, which is sorted.

    A set of layers is the bits of an integer: each Concat of a dense block has all of the block's next to it.
    """

    def __init__(self, graph: gs.Graph) -> None:
        own = layers_of(graph)
        self._bits = {name: 1 << index for index, name in enumerate(dict.fromkeys(own.values()))}
        self._own = {node: self._bits[name] for node, name in own.items()}
        self._before: dict[int, int] = {}
        self._behind: dict[int, int] = {}
        nodes = [node for node in graph.nodes if graphs.is_student(node)]
        for node in nodes:
            before = (other for tensor in node.inputs for other in tensor.inputs)
            self._before[id(node)] = self._join(self._before, before)
        for node in reversed(nodes):
            behind = (other for tensor in node.outputs for other in tensor.outputs)
            self._behind[id(node)] = self._join(self._behind, behind)

    def _join(self, found: dict[int, int], nodes: Iterable[gs.Node]) -> int:
        union = 0
        for node in nodes:
            union |= self._own.get(id(node)) or found.get(id(node), 0)
        return union

    def bits(self, names: Collection[str]) -> int:
        """A set of layers."""
        return sum(self._bits[name] for name in set(names))

    def stays(self, reader: gs.Node, kept: int) -> bool:
        """Whether a node that reads through a pair goes on doing so where only the layers ``kept`` are
        quantised."""
        if self.owners(reader):
            mine = bool(self.owners(reader) & kept)
            if mine or id(reader) in self._own:
                return mine
        sides = self._before.get(id(reader), 0), self._behind.get(id(reader), 0)
        return bool(kept) and all(not side or side & kept for side in sides)

    def owners(self, reader: gs.Node) -> int:
        """The layer that ``reader`` computes, or those that read what it only moves; 0 for none."""
        if id(reader) in self._own or reader.op not in PASSED:
            return self._own.get(id(reader), 0)
        union = 0
        for tensor in reader.outputs:
            for node in tensor.outputs:
                union |= self.owners(node)
        return union


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
