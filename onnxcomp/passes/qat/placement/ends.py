"""Which layers read the image, and which give the logits."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.graphs import Weight
from onnxcomp.passes.qat.placement import walk
from onnxcomp.passes.qat.placement.switches import Switches

SCALING = ("Div", "Mul", "Sub")
"""Normalisation where all but one input is constant; else a gate."""
JOINING = ("Add", "Concat", *SCALING)
"""Operators all of whose inputs are data."""
BETWEEN = (
    *(*walk.PASSED, *JOINING, *walk.AVERAGING, "GlobalMaxPool", "ReduceMax", "ReduceMean", "ReduceSum"),
    *("Cast", "Gather", "Pad", "Resize", "Slice", "Split", "BatchNormalization"),
    *("Clip", "LeakyRelu", "LogSoftmax", "PRelu", "Relu", "Sigmoid", "Softmax", "Tanh"),
)
"""What may stand between the image and the first layer, or between the last layer and the logits."""
SHAPES = ("Shape", "Size")


class Ends:
    """The tensors at both ends of a graph, which is sorted, up to the nearest layers."""

    def __init__(self, graph: gs.Graph) -> None:
        self._image, self._logits = _of_image(graph), _of_logits(graph)

    def reads_image(self, weight: Weight) -> bool:
        """Whether no other layer is between the image and this one."""
        return id(weight.node.inputs[1 - weight.index]) in self._image

    def gives_logits(self, weight: Weight) -> bool:
        """Whether no other layer is between this one and the logits, and nothing else reads what it gives."""
        return id(weight.node.outputs[0]) in self._logits


def _of_image(graph: gs.Graph) -> set[int]:
    found = {id(tensor) for tensor in graph.inputs}
    for node in graph.nodes:
        data = _data(node)
        if data and all(id(tensor) in found for tensor in data):
            found.update(id(tensor) for tensor in node.outputs)
    return found


def _of_logits(graph: gs.Graph) -> set[int]:
    found = {id(tensor) for tensor in graph.outputs}
    for node in reversed(graph.nodes):
        if any(id(tensor) in found for tensor in node.outputs):
            found.update(id(tensor) for tensor in _data(node) if _has_one_reader(tensor))
    return found


def _data(node: gs.Node) -> list[gs.Tensor]:
    """The activations that ``node`` passes on; none if it is not of :data:`BETWEEN`."""
    if node.op not in BETWEEN or not graphs.is_student(node):
        return []
    inputs = node.inputs if node.op in JOINING else node.inputs[:1]
    found = [tensor for tensor in inputs if walk.is_activation(tensor)]
    return [] if node.op in SCALING and len(found) > 1 else found


def _has_one_reader(tensor: gs.Tensor) -> bool:
    """Whether one node reads its values; exporters also ask for its shape."""
    return len([node for node in walk.readers(tensor) if node.op not in SHAPES]) == 1


def unmatched(graph: gs.Graph, switches: Switches) -> Iterator[str]:
    """A note for each of ``first=false`` and ``last=false`` that leaves no layer float."""
    ends, layers = Ends(graph), list(graphs.weights(graph))
    if not switches.first and not any(map(ends.reads_image, layers)):
        yield "qat.first=false leaves nothing float: no layer reads the image; name it in qat.exclude"
    if not switches.last and not any(map(ends.gives_logits, layers)):
        yield "qat.last=false leaves nothing float: no layer alone gives the logits; name it in qat.exclude"
