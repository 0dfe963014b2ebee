"""A network and the spots where its Q/DQ pairs round, so that any of them can be left out.

A pair that several nodes read becomes one for each of them, which changes no number. Then the network with
some of its layers float differs from the one with all in INT8 in those nodes alone that read something else.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.deploy import qdq
from onnxcomp.graphs import Quantizer
from onnxcomp.model import Model
from onnxcomp.passes.qat import partial
from onnxcomp.student import student

Spot = tuple[str, int]
"""The name of a node, and which of its inputs."""
PREFIX = f"{graphs.QAT_PREFIX}spot/"


@dataclass(frozen=True)
class Spots:
    """Where a network rounds.

    Attributes:
        plain: the float network: a student without masks and pairs.
        layers: names of the quantised weights, in the order of the graph.
        readers: by spot the node of the quantised network.
        weights: by spot a weight as INT8 makes it, float32.
        scales: by spot of an activation scale and zero point.
        around: which layers lie next to the nodes of the quantised network.
    """

    plain: Model
    layers: tuple[str, ...]
    readers: dict[Spot, gs.Node]
    weights: dict[Spot, gs.Constant]
    scales: dict[Spot, tuple[gs.Constant, gs.Constant]]
    around: partial.Around

    def only(self, keep: Collection[str]) -> frozenset[Spot]:
        """The spots where the network with only the layers ``keep`` in INT8 rounds.

        See :mod:`onnxcomp.passes.qat.partial`.
        """
        kept = self.around.bits(keep)
        return frozenset(spot for spot, node in self.readers.items() if self.around.stays(node, kept))

    def without(self, layer: str) -> frozenset[Spot]:
        """Those where the network with one layer float rounds."""
        return self.only([name for name in self.layers if name != layer])

    def between(self) -> frozenset[Spot]:
        """Those that belong to no layer: of residual sums, Concats, pooling, ..."""
        return frozenset(spot for spot, node in self.readers.items() if not self.around.owners(node))

    def form(self, part: Model, spots: Collection[Spot]) -> Model:
        """A copy of a piece of ``plain`` that rounds at those of ``spots`` that lie in it."""
        graph = part.graph.copy()
        shared: dict[str, gs.Constant] = {}

        def own(constant: gs.Constant) -> gs.Constant:
            return shared.setdefault(constant.name, constant.copy())

        for node in list(graph.nodes):
            for index, tensor in enumerate(node.inputs):
                spot = (node.name, index)
                if spot in spots and spot in self.weights:
                    node.inputs[index] = own(self.weights[spot])
                elif spot in spots:
                    scale, zero = self.scales[spot]
                    node.inputs[index] = _through_pair(graph, tensor, [own(scale), own(zero)], spot)
        graph.toposort()
        return replace(part, graph=graph)


def _through_pair(
    graph: gs.Graph, tensor: gs.Tensor, parameters: list[gs.Constant], spot: Spot
) -> gs.Variable:
    stem = f"{PREFIX}{spot[0]}/{spot[1]}"
    integers = gs.Variable(f"{stem}.quantized", parameters[1].dtype, tensor.shape)
    floats = gs.Variable(f"{stem}.dequantized", np.float32, tensor.shape)
    graph.nodes += [
        gs.Node("QuantizeLinear", f"{stem}/quantize", {}, [tensor, *parameters], [integers]),
        gs.Node("DequantizeLinear", f"{stem}/dequantize", {}, [integers, *parameters], [floats]),
    ]
    return floats


def find(model: Model) -> Spots:
    """The spots of a compression form; ``model`` stays as it is."""
    full = student(model)
    plain = partial.only(full, ())
    _multiply_masks(plain.graph)
    readers: dict[Spot, gs.Node] = {}
    weights: dict[Spot, gs.Constant] = {}
    scales: dict[Spot, tuple[gs.Constant, gs.Constant]] = {}
    constants = plain.constants()
    for pair in graphs.quantizers(full.graph):
        tensor = pair.dequantize.outputs[0]
        rounded = None if pair.weight is None else _rounded(pair, constants)
        for node in tensor.outputs:
            for index in (index for index, found in enumerate(node.inputs) if found is tensor):
                readers[node.name, index] = node
                if rounded is not None:
                    weights[node.name, index] = rounded
                else:
                    scales[node.name, index] = (pair.quantize.inputs[1], pair.quantize.inputs[2])
    return Spots(plain, partial.layers(full), readers, weights, scales, partial.Around(full.graph))


def _rounded(pair: Quantizer, constants: dict[str, gs.Constant]) -> gs.Constant:
    """A weight, through its mask, as its pair makes it."""
    source, scale = constants[pair.source.name], pair.scale.values
    integers = qdq.quantize(source.values, scale, pair.axis)
    return gs.Constant(f"{PREFIX}{source.name}", qdq.dequantize(integers, scale, pair.axis))


def _multiply_masks(graph: gs.Graph) -> None:
    for node in list(graph.nodes):
        mask = graphs.mask_of(node)
        if mask is None:
            continue
        output = node.outputs[0]
        masked = gs.Constant(output.name, node.inputs[0].values * mask.values)
        graphs.rewire(output, masked, list(output.outputs))
        node.inputs.clear()
        node.outputs.clear()
    graph.nodes = [node for node in graph.nodes if node.outputs]
