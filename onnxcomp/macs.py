"""Multiply-accumulates: the work of a network for one image, zeros counted as work."""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.shapes import Shape, shapes


def total(graph: gs.Graph) -> int | None:
    """Those of the student's weighted operators, or None where a shape is unknown."""
    sizes = shapes(graph).sizes
    counts = [macs(weight, sizes) for weight in graphs.weights(graph)]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def macs(weight: graphs.Weight, sizes: Mapping[str, Shape] | None = None) -> int | None:
    """Multiply-accumulates of one operator for one image, or None where a shape is unknown.

    Each output element sums over the weight's elements of its channel; ConvTranspose spreads each input
    element instead.

    Args:
        sizes: shapes by tensor name, batch first, as :func:`onnxcomp.shapes.shapes` gives; by default
            the tensors' own.
    """
    node = weight.node
    shape = tuple(int(size) for size in weight.tensor.shape)
    if node.op == "ConvTranspose":
        elements, channels = _per_image(node.inputs[0], sizes), shape[0]
    else:
        elements, channels = _per_image(node.outputs[0], sizes), shape[weight.axis]
        if node.op == "MatMul":  # leading dimensions of the weight are a batch of matrices
            channels *= math.prod(shape[:-2])
    if elements is None:
        return None
    return elements * (math.prod(shape) // channels)


def _per_image(tensor: gs.Tensor, sizes: Mapping[str, Shape] | None) -> int | None:
    shape = tensor.shape if sizes is None else sizes.get(tensor.name)
    known = [size for size in shape[1:] if isinstance(size, int)] if shape is not None else []
    return math.prod(known) if shape is not None and len(known) == len(shape) - 1 else None
