"""From a placement to Q/DQ pairs with calibrated scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.observed import Observed, together
from onnxcomp.passes.base import Array, Calibration
from onnxcomp.passes.qat.clipping import OF_RANGES
from onnxcomp.passes.qat.grid import TINY
from onnxcomp.passes.qat.insert import Encoding, quantize_activations, quantize_weights
from onnxcomp.passes.qat.placement import Placement
from onnxcomp.passes.qat.scales import activation_encoding, weight_scale

if TYPE_CHECKING:
    from onnxcomp.passes.qat.qat import Qat


def quantize(model: Model, placement: Placement, calibration: Calibration, options: Qat) -> tuple[str, ...]:
    """Observe the sites, find all scales, insert the pairs; in place.

    Returns:
        A line that names activations that were always 0, where there are some.
    """
    histogram = options.calibration not in OF_RANGES
    observed = calibration.observe(model, list(placement.sites), histogram=histogram)
    insert(model, placement, observed, options)
    zero = [name for name, one in observed.items() if one.largest < TINY]
    if not zero:
        return ()
    which = ", ".join(zero[:3]) + (", ..." if len(zero) > 3 else "")
    return (f"always 0 on all images, scale 1: {len(zero)} activations ({which})",)


def encodings(placement: Placement, observed: Mapping[str, Observed], options: Qat) -> dict[str, Encoding]:
    """Scale and zero point by the first site of each group."""
    found = {}
    for group in placement.groups():
        seen = together(observed[site.tensor.name] for site in group)
        found[group[0].tensor.name] = activation_encoding(
            seen, options.calibration, options.percentile, placement.grid
        )
    return found


def weight_scales(model: Model, placement: Placement, options: Qat) -> dict[str, Array]:
    """Scales of the quantised weights, of what their masks leave."""
    masks, float_too = graphs.masks(model.graph), _read_in_float(model, placement)
    found: dict[str, Array] = {}
    for layer in placement.layers:
        if layer.name not in found:
            mask = masks.get(layer.name)
            values = layer.tensor.values if mask is None else layer.tensor.values * mask.values
            method = "max" if layer.name in float_too else options.weights
            found[layer.name] = weight_scale(values, layer.axis, bits=options.weight_bits, method=method)
    return found


def _read_in_float(model: Model, placement: Placement) -> set[str]:
    """Weights that a layer which stays float reads too: nothing may clip there."""
    quantized = {id(layer.node) for layer in placement.layers}
    return {weight.name for weight in graphs.weights(model.graph) if id(weight.node) not in quantized}


def insert(model: Model, placement: Placement, observed: Mapping[str, Observed], options: Qat) -> None:
    """The pairs, from what was observed of all sites; in place."""
    quantize_activations(model, placement, encodings(placement, observed, options))
    scales = weight_scales(model, placement, options)
    if options.weights == "mse":
        _clip_weights(placement, scales, 2 ** (options.weight_bits - 1) - 1)
    quantize_weights(model, placement.layers, scales)
    model.graph.toposort()


def _clip_weights(placement: Placement, scales: Mapping[str, Array], levels: int) -> None:
    """Keep weights within what their scale reaches: QuantizeLinear itself only saturates at -128 and 127."""
    for layer in {layer.name: layer for layer in placement.layers}.values():
        values = layer.tensor.values
        limit = graphs.along(scales[layer.name] * np.float32(levels), layer.axis, values.ndim)
        layer.tensor.values = np.clip(values, -limit, limit)
