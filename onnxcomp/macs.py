"""Multiply-accumulates: the work of a network for one image, zeros counted as work."""

from __future__ import annotations

import math

import onnx_graphsurgeon as gs

from onnxcomp import graphs


def total(graph: gs.Graph) -> int | None:
    """Those of the student's weighted operators, or None where a shape is unknown."""
    counts = [macs(weight) for weight in graphs.weights(graph)]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def macs(weight: graphs.Weight) -> int | None:
    """Multiply-accumulates of one operator for one image, or None where a shape is unknown.

    Each output element sums over the weight's elements of its channel; ConvTranspose spreads each input
    element instead.
    """
    node = weight.node
    shape = tuple(int(size) for size in weight.tensor.shape)
    if node.op == "ConvTranspose":
        elements, channels = _per_image(node.inputs[0]), shape[0]
    else:
        elements, channels = _per_image(node.outputs[0]), shape[weight.axis]
        if node.op == "MatMul":  # leading dimensions of the weight are a batch of matrices
            channels *= math.prod(shape[:-2])
    if elements is None:
        return None
    return elements * (math.prod(shape) // channels)


def _per_image(tensor: gs.Tensor) -> int | None:
    if tensor.shape is None or not all(isinstance(size, int) for size in tensor.shape[1:]):
        return None
    return math.prod(int(size) for size in tensor.shape[1:])
