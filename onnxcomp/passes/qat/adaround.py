"""Rounding of all quantised weights, learned layer by layer on what the layers read of real images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from onnxcomp import graphs
from onnxcomp.graphs import Quantizer
from onnxcomp.model import Model
from onnxcomp.passes.base import Array, Grams
from onnxcomp.passes.layerwise import Layers, matrix, stages, tensor
from onnxcomp.passes.qat import rounding

BUDGET = 2**28
"""Elements of all Gram matrices held at a time: 1 GiB."""
WIDEST = 8192
"""Inputs of a layer that is learned: beyond, its Gram matrix and what is made of it take gigabytes."""


def round_weights(model: Model, reference: Model, grams: Grams, *, bits: int = 8) -> tuple[str, ...]:
    """Put quantised weights on their grids, in place, so that the layers' outputs change least.

    A new weight is its scale times a whole number beside the reference's weight, which QuantizeLinear gives
    back exactly: the file needs nothing new. Scales, masks and what masks close stay. How the choice
    is made: :mod:`onnxcomp.passes.qat.rounding`. Every layer is solved for the inputs that the float
    network gives it.

    Args:
        model: with Q/DQ pairs whose scales are final.
        reference: the same network without them, its weights and tensors under the same names.
        bits: of weights, 2 to 8: integers lie in ``-(2^(bits-1) - 1)..2^(bits-1) - 1``.

    Returns:
        What was done, and what was left to QuantizeLinear, for the report.
    """
    pairs = {pair.weight.name: pair for pair in graphs.quantizers(model.graph) if pair.weight is not None}
    layers, left = _layers(reference, pairs)
    constants, masks = model.constants(), graphs.masks(model.graph)
    shares = []
    for names in stages(layers, BUDGET):
        found = grams.grams(reference, [layer for name in names for layer in layers[name]])
        for name in names:
            weight, layer = constants[name], layers[name][0]
            mask = masks[name].values if name in masks else np.ones_like(layer.tensor.values)
            values, share = _solve(layer, mask, pairs[name].scale.values, found.pop(name), bits)
            weight.values = np.where(mask == 0, weight.values, values)
            shares.append(share)
    return (*_summary(shares), *(f"rounded to nearest: {name}, {reason}" for name, reason in left.items()))


def _layers(reference: Model, pairs: dict[str, Quantizer]) -> tuple[Layers, dict[str, str]]:
    """The float network's uses of each weight that is learned, and why other quantised ones are not."""
    uses: dict[str, list[graphs.Weight]] = defaultdict(list)
    for layer in graphs.weights(reference.graph):
        if layer.name in pairs:
            uses[layer.name].append(layer)
    reasons = {name: _obstacle(layers, pairs[name]) for name, layers in uses.items()}
    left = {name: reason for name, reason in reasons.items() if reason}
    return {name: layers for name, layers in uses.items() if name not in left}, left


def _obstacle(layers: Sequence[graphs.Weight], pair: Quantizer) -> str:
    """Why the weight of these layers is not learned, or ""."""
    layer = layers[0]
    if layer.node.op == "ConvTranspose" or (layer.node.op != "Conv" and len(layer.tensor.shape) != 2):
        return f"{layer.node.op} has no Gram matrix"
    if any(len(read.outputs) > 1 for read in (pair.source, pair.weight) if read is not None):
        return "which is read without its pair too"
    columns = matrix(layer, layer.tensor.values).shape[2]
    return f"of {columns:,} inputs, more than {WIDEST:,}" if columns > WIDEST else ""


def _solve(layer: graphs.Weight, mask: Array, scale: Array, gram: Array, bits: int) -> tuple[Array, float]:
    """New values, and their error as a share of that of rounding to nearest."""
    rows = matrix(layer, layer.tensor.values * mask)
    steps = scale.reshape(*rows.shape[:2], 1)
    rows, levels = rows / steps, 2 ** (bits - 1) - 1
    learned, nearest = rounding.learn(rows, gram, levels), rounding.nearest(rows, levels)
    before, after = (
        float((rounding.errors(rounded - rows, gram) * steps[..., 0] ** 2).sum(dtype=np.float64))
        for rounded in (nearest, learned)
    )
    return tensor(layer, learned * steps), after / before if before > 0 else 1.0


def _summary(shares: Sequence[float]) -> list[str]:
    if not shares:
        return ["rounding: no quantised weight is learned"]
    return [
        f"rounding of {len(shares)} weights learned: their layers' squared error is "
        f"{np.median(shares):.1%} (median) of rounding to nearest's"
    ]
