"""What quantising does to each layer's own output: of all layers in one pass over the images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.graphs import Weight
from onnxcomp.model import Model
from onnxcomp.passes.base import Array, Calibration
from onnxcomp.passes.qat import partial

PREFIX = f"{graphs.QAT_PREFIX}error/"
Twin = tuple[str, str, str]
"""A layer, and the names of the scalars ``sum (y - y')^2`` and ``sum y^2`` of a batch."""
Rounding = tuple[gs.Constant, gs.Constant, dict[str, object]]
"""Scale, zero point and attributes of a pair."""


def local_errors(model: Model, reference: Model, calibration: Calibration) -> dict[str, float]:
    """Energy of the error of each layer's output, relative to the output's, when it alone is quantised.

    ``sum (y - y')^2 / sum y^2``, where ``y`` is what the layer computes in the float network and ``y'`` the
    same from its quantised weight and input. Of a weight that several nodes use the largest counts.

    Args:
        model: a compression form with Q/DQ.
        reference: the float network; its weights have the same names.

    Returns:
        By the names of :func:`onnxcomp.passes.qat.partial.layers`; 0 where the output is always 0.
    """
    measured = model.copy()
    twins = list(_with_twins(measured, reference))
    tensors = [name for _, *names in twins for name in names]
    sums: dict[str, float] = defaultdict(float)
    for found in calibration.run(measured, tensors):
        for name in tensors:
            sums[name] += float(found[name])
    ratios: dict[str, float] = {}
    for layer, error, signal in twins:
        ratio = sums[error] / sums[signal] if sums[signal] else 0.0
        ratios[layer] = max(ratio, ratios.get(layer, 0.0))
    return ratios


def _with_twins(model: Model, reference: Model) -> Iterator[Twin]:
    """Make the network float, and put beside each layer one that is quantised; in place."""
    graph = model.graph
    names = partial.layers_of(graph)
    layers = [weight for weight in graphs.weights(graph) if id(weight.node) in names]
    pairs = {
        id(pair.dequantize.outputs[0]): (*pair.quantize.inputs[1:], dict(pair.quantize.attrs))
        for pair in graphs.quantizers(graph)
    }
    read = [[pairs.get(id(tensor)) for tensor in weight.node.inputs] for weight in layers]
    masks = graphs.masks(graph)
    given = {weight.name: _masked(weight, masks) for weight in layers}
    partial.restrict(model, ())
    partial.restore(model, reference)
    for index, (weight, roundings) in enumerate(zip(layers, read, strict=True)):
        yield _add_twin(graph, weight, given[weight.name], roundings, f"{PREFIX}{index}")
    graph.toposort()


def _masked(weight: Weight, masks: Mapping[str, gs.Constant]) -> Array:
    mask = masks.get(weight.name)
    values: Array = weight.tensor.values if mask is None else weight.tensor.values * mask.values
    return values


def _add_twin(
    graph: gs.Graph, weight: Weight, values: Array, roundings: list[Rounding | None], stem: str
) -> Twin:
    node, output = weight.node, weight.node.outputs[0]
    sources = list(node.inputs)
    sources[weight.index] = gs.Constant(f"{stem}/weight", values)
    inputs = [
        tensor if rounding is None else _quantized(graph, tensor, rounding, f"{stem}/{place}")
        for place, (tensor, rounding) in enumerate(zip(sources, roundings, strict=True))
    ]
    twin = _add(graph, node.op, inputs, f"{stem}/twin", dict(node.attrs))
    error = _add(graph, "Sub", [output, twin], f"{stem}/difference")
    energies = [
        _add(graph, "ReduceSumSquare", [tensor], f"{stem}/{what}", {"keepdims": 0})
        for what, tensor in (("noise", error), ("signal", output))
    ]
    return weight.name, energies[0].name, energies[1].name


def _quantized(graph: gs.Graph, tensor: gs.Tensor, rounding: Rounding, stem: str) -> gs.Variable:
    """``tensor`` through a pair of its own."""
    scale, zero, attrs = rounding
    integers = _add(graph, "QuantizeLinear", [tensor, scale, zero], f"{stem}/quantize", attrs, zero.dtype)
    return _add(graph, "DequantizeLinear", [integers, scale, zero], f"{stem}/dequantize", attrs)


def _add(
    graph: gs.Graph,
    op: str,
    inputs: list[gs.Tensor],
    name: str,
    attrs: dict[str, object] | None = None,
    dtype: object = np.float32,
) -> gs.Variable:
    """The output of a new node; both are called ``name``."""
    output = gs.Variable(name, dtype)
    graph.nodes.append(gs.Node(op, name, attrs or {}, inputs, [output]))
    return output
