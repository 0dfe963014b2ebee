"""Q/DQ pairs where a placement wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.graphs import Weight
from onnxcomp.model import Model, Role
from onnxcomp.passes.qat.placement import Placement, Site

Encoding = tuple[npt.NDArray[np.float32], npt.NDArray[np.generic]]
"""Scale and zero point."""


def quantize_activations(model: Model, placement: Placement, encodings: Mapping[str, Encoding]) -> None:
    """A pair for each site; sites that share a scale share its constants.

    Args:
        encodings: by the name of the first site of each group.
    """
    for group in placement.groups():
        name = group[0].tensor.name
        parameters = _parameters(model, name, encodings[name])
        for site in group:
            _quantize(model, site, parameters)


def _quantize(model: Model, site: Site, parameters: Sequence[gs.Constant]) -> None:
    pair = _insert(model, site.tensor, site.tensor.name, parameters, None)
    graphs.rewire(site.tensor, pair, site.readers)


def quantize_weights(
    model: Model, layers: Sequence[Weight], scales: Mapping[str, npt.NDArray[np.float32]]
) -> None:
    """A pair for each weight, behind its mask; layers that share a weight share its pair.

    Args:
        scales: float32 (output channels,) by the weight's name.
    """
    seen: dict[str, gs.Variable] = {}
    for layer in layers:
        if layer.name not in seen:
            scale = scales[layer.name]
            parameters = _parameters(model, layer.name, (scale, np.zeros(scale.shape, np.int8)))
            source = layer.node.inputs[layer.index]
            seen[layer.name] = _insert(model, source, layer.name, parameters, layer.axis)
        layer.node.inputs[layer.index] = seen[layer.name]


def _parameters(model: Model, name: str, encoding: Encoding) -> list[gs.Constant]:
    scale, zero = encoding
    model.roles[f"{name}.scale"] = Role.SCALE
    return [gs.Constant(f"{name}.scale", scale), gs.Constant(f"{name}.zero_point", zero)]


def _insert(
    model: Model, source: gs.Tensor, name: str, parameters: Sequence[gs.Constant], axis: int | None
) -> gs.Variable:
    """``source -> QuantizeLinear -> DequantizeLinear``; returns the dequantised tensor."""
    attrs = {} if axis is None else {"axis": axis}
    quantized = gs.Variable(f"{name}.quantized", parameters[1].dtype, source.shape)
    dequantized = gs.Variable(f"{name}.dequantized", np.float32, source.shape)
    stem = f"{graphs.QAT_PREFIX}{name}"
    model.graph.nodes += [
        gs.Node("QuantizeLinear", f"{stem}/quantize", attrs, [source, *parameters], [quantized]),
        gs.Node("DequantizeLinear", f"{stem}/dequantize", attrs, [quantized, *parameters], [dequantized]),
    ]
    return dequantized
