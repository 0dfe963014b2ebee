"""The shape of every tensor, also behind shapes that the network computes from its batch size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
import onnx_graphsurgeon as gs

from onnxcomp import shape_inference
from onnxcomp.fold_shapes import fold_shapes
from onnxcomp.skeleton import outline

Shape = tuple[int | None, ...]
LEAST_OPSET = 15
"""Before 14, what inference propagates does not reach a Reshape."""


@dataclass(frozen=True)
class Shapes:
    """Sizes by tensor name; a tensor of unknown rank is missing.

    Attributes:
        sizes: for a batch of one, or of the network's fixed size; None where even then unknown.
        fixed: the same, with None also where the size follows the batch.
    """

    sizes: Mapping[str, Shape]
    fixed: Mapping[str, Shape]


def shapes(graph: gs.Graph) -> Shapes:
    """All shapes of ``graph``.

    Where the file's own shapes leave more open than a batch at the first axis (an exporter's Reshape
    to a computed shape), ONNX shape inference is run for batches of 1 and of 2, and what the network
    computes of its shapes is computed: what differs follows the batch.
    """
    tensors = [tensor for tensor in graph.tensors().values() if tensor.shape is not None]
    fixed = {t.name: tuple(s if isinstance(s, int) else None for s in t.shape) for t in tensors}
    first = 1 if graph.inputs and None in fixed.get(graph.inputs[0].name, ()) else 0
    if len(tensors) == len(graph.tensors()) and not any(None in shape[first:] for shape in fixed.values()):
        sizes = {name: tuple(1 if size is None else size for size in shape) for name, shape in fixed.items()}
        return Shapes(sizes, fixed)
    one, two = _inferred(graph, 1), _inferred(graph, 2)
    both = {name: shape for name, shape in one.items() if len(two.get(name, ())) == len(shape)}
    fixed |= {
        name: tuple(a if a == b else None for a, b in zip(shape, two[name], strict=True))
        for name, shape in both.items()
    }
    return Shapes({**fixed, **both}, fixed)


def _inferred(graph: gs.Graph, batch: int) -> dict[str, Shape]:
    light = outline(graph)
    for tensor in (*light.inputs, *light.outputs):
        if tensor.shape and not isinstance(tensor.shape[0], int):
            tensor.shape = [batch, *tensor.shape[1:]]
    light.opset = max(light.opset, LEAST_OPSET)
    light.import_domains = [
        domain if domain.domain else onnx.helper.make_opsetid("", light.opset)
        for domain in light.import_domains or ()
    ] or None
    shape_inference.fill(light)
    found = _known(light)
    fold_shapes(light)
    return found | _known(light)


def _known(graph: gs.Graph) -> dict[str, Shape]:
    return {
        name: tuple(size if isinstance(size, int) and size else None for size in tensor.shape)
        for name, tensor in graph.tensors().items()
        if tensor.shape is not None
    }
