"""The shape of every tensor, also behind shapes that the network computes from its batch size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
import onnx_graphsurgeon as gs

Shape = tuple[int | None, ...]


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
    to a computed shape), ONNX shape inference with data propagation is run for batches of 1 and of
    2: what differs follows the batch.
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
    proto = gs.export_onnx(graph, do_type_check=False)
    del proto.graph.value_info[:]
    for value in (*proto.graph.input, *proto.graph.output):
        dimension = value.type.tensor_type.shape.dim[:1]
        if dimension and not dimension[0].dim_value:
            dimension[0].dim_value = batch
    for domain in proto.opset_import:  # before 14, what is propagated does not reach a Reshape
        if not domain.domain:
            domain.version = max(domain.version, 15)
    done = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    return {
        value.name: tuple(d.dim_value if d.dim_value else None for d in value.type.tensor_type.shape.dim)
        for value in (*done.graph.input, *done.graph.value_info, *done.graph.output)
        if value.type.tensor_type.HasField("shape")
    }
