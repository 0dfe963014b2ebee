"""Shapes of a network by ONNX shape inference: with a symbol for its batch, or at one batch."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp import shape_inference, shapes
from onnxcomp.model import Model
from onnxcomp.skeleton import outline

Size = int | str | None
BATCH = "onnxcomp_batch"
"""The symbol; ``BATCH*3`` is an axis of which each image has three."""
_LEAST_OPSET = 15  # before 14, a shape that is computed in the graph does not reach a Reshape


def infer(model: Model, batch: int | None = None) -> dict[str, list[Size]]:
    """Sizes of all but constants by name, :data:`BATCH` where they follow the batch.

    The shapes that tensors have are believed, so :func:`forget` those of another batch before.

    Args:
        batch: a number to work them out at, strictly and believing nothing.

    Raises:
        RuntimeError: inference is strict and finds a contradiction (onnx raises a subclass, or others).
    """
    proto = gs.export_onnx(outline(model.graph), do_type_check=False)
    image = next(entry for entry in proto.graph.input if entry.name == model.image.name)
    size = image.type.tensor_type.shape.dim[0]
    if batch is None:
        size.dim_param = BATCH
    else:
        size.dim_value = batch
        del proto.graph.value_info[:]
    for domain in proto.opset_import:
        if not domain.domain:
            domain.version = max(domain.version, _LEAST_OPSET)
    strict = batch is not None
    done = shape_inference.infer_shapes(proto, check_type=strict, strict_mode=strict, data_prop=True)
    return {
        value.name: [dim.dim_value or dim.dim_param or None for dim in value.type.tensor_type.shape.dim]
        for value in (*done.graph.input, *done.graph.value_info, *done.graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def forget(graph: gs.Graph) -> None:
    """Drop the shape of every tensor that a node computes."""
    for node in graph.nodes:
        for tensor in node.outputs:
            if not tensor.is_empty():
                tensor.shape = None


def settle(model: Model, batch: int | str | None) -> None:
    """Give every tensor its shape, with ``batch`` where axis 0 follows the image's, in place."""
    graph, classes = model.graph, model.num_classes
    forget(graph)
    model.image.shape = [BATCH, *model.image.shape[1:]]
    found = shapes.shapes(outline(graph)).fixed
    for node in graph.nodes:
        for tensor in node.outputs:
            shape = found.get(tensor.name)
            if shape is not None and not tensor.is_empty():
                tensor.shape = [
                    batch if not axis and size is None else size for axis, size in enumerate(shape)
                ]
    model.image.shape = [batch, *model.image.shape[1:]]
    model.logits.shape = [batch, classes]
