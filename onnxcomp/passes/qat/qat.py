"""The pass ``qat``: QuantizeLinear/DequantizeLinear on the input and the weight of each layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs
from pydantic import Field

from onnxcomp import graphs
from onnxcomp.graphs import Weight
from onnxcomp.model import Model, Role
from onnxcomp.passes.base import Change, Context, Names, Pass, excluded, unmatched
from onnxcomp.passes.qat.grid import INT8
from onnxcomp.passes.qat.scales import Method, activation_encoding, weight_scale


@dataclass(frozen=True)
class Qat(Pass):
    """Fake-quantise the data input and the weight of every Conv, ConvTranspose, Gemm and MatMul.

    Weights are symmetric INT8 per output channel, activations symmetric INT8 per tensor; biases and
    everything else stay float32. Every pair has a zero point of 0 and three inputs, as the TensorRT
    8.5 parser wants. A tensor that several layers read is quantised once.

    Attributes:
        calibration: how an activation's scale is found from real data.
        percentile: of the absolute values, for ``calibration=percentile``.
        exclude: patterns (as in a shell) of weight or node names to leave float.
    """

    name: ClassVar[str] = "qat"
    follows: ClassVar[tuple[str, ...]] = ("channels", "prune")

    calibration: Method = "percentile"
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.999
    exclude: Names = ()

    def requires(self, model: Model, context: Context) -> None:
        if context.calibration is None:
            raise self.error("needs real images to calibrate its scales", fix="give --data")
        lost = unmatched(model.graph, self.exclude)
        if lost:
            raise self.error(f"exclude names {lost}, which is no weighted layer", fix="see onnxcomp inspect")
        chosen = self._layers(model.graph)
        if not chosen:
            raise self.error("there is no layer to quantise", fix="loosen qat.exclude")
        axes: dict[str, int] = {}
        for weight in chosen:
            obstacle = _obstacle(weight, axes.setdefault(weight.name, weight.axis))
            if obstacle:
                name = weight.node.name
                raise self.error(obstacle, node=name, fix=f"add {name} to qat.exclude")

    def apply(self, model: Model, context: Context) -> Change:
        assert context.calibration is not None
        layers = self._layers(model.graph)
        data = {layer.node.inputs[0].name: layer.node.inputs[0] for layer in layers}
        observed = context.calibration.observe(model, list(data))
        for name, tensor in data.items():
            scale, _ = activation_encoding(observed[name], self.calibration, self.percentile, INT8)
            readers = [layer.node for layer in layers if layer.node.inputs[0] is tensor]
            pair = _insert_pair(model, tensor, name, scale, None)
            graphs.rewire(tensor, pair, readers)
        seen: dict[str, gs.Variable] = {}
        for layer in layers:
            if layer.name not in seen:
                seen[layer.name] = _quantize_weight(model, layer)
            layer.node.inputs[layer.index] = seen[layer.name]
        model.graph.toposort()
        return Change(True, tuple(self._notes(model, layers, data)))

    def ensures(self, model: Model) -> None:
        quantized = {q.weight.name for q in graphs.quantizers(model.graph) if q.weight is not None}
        for layer in self._layers(model.graph):
            if layer.name not in quantized:
                raise self.error("has no Q/DQ on its weight", node=layer.node.name, fix="report this")

    def _layers(self, graph: gs.Graph) -> list[Weight]:
        return [weight for weight in graphs.weights(graph) if not excluded(weight, self.exclude)]

    def _notes(self, model: Model, layers: list[Weight], data: dict[str, gs.Tensor]) -> list[str]:
        notes = [f"{len(layers)} layers in INT8, {len(data)} activations ({self.calibration})"]
        every = {weight.node.name for weight in graphs.weights(model.graph)}
        left = sorted(every - {layer.node.name for layer in layers})
        if left:
            notes.append(f"left float: {', '.join(left)}")
        return notes


def _obstacle(weight: Weight, axis: int) -> str:
    """Why ONNX Runtime has no integer kernel for a weight scaled along ``axis``, or ""."""
    if weight.index == 0:
        return "its weight is the first input"
    if weight.node.op == "MatMul" and len(weight.tensor.shape) != 2:
        return f"its weight has {len(weight.tensor.shape)} axes"
    if weight.axis != axis:
        return f"another node uses its weight {weight.name} transposed"
    return ""


def _quantize_weight(model: Model, layer: Weight) -> gs.Variable:
    mask = graphs.masks(model.graph).get(layer.name)
    values = layer.tensor.values
    scale = weight_scale(values if mask is None else values * mask.values, layer.axis)
    source = layer.node.inputs[layer.index]
    return _insert_pair(model, source, layer.name, scale, layer.axis)


def _insert_pair(
    model: Model, source: gs.Tensor, name: str, scale: npt.NDArray[np.float32], axis: int | None
) -> gs.Variable:
    """``source -> QuantizeLinear -> DequantizeLinear``; returns the dequantised tensor."""
    attrs = {} if axis is None else {"axis": axis}
    parameters = [
        gs.Constant(f"{name}.scale", scale),
        gs.Constant(f"{name}.zero_point", np.zeros(scale.shape, np.int8)),
    ]
    quantized = gs.Variable(f"{name}.quantized", np.int8, source.shape)
    dequantized = gs.Variable(f"{name}.dequantized", np.float32, source.shape)
    stem = f"{graphs.QAT_PREFIX}{name}"
    model.graph.nodes += [
        gs.Node("QuantizeLinear", f"{stem}/quantize", attrs, [source, *parameters], [quantized]),
        gs.Node("DequantizeLinear", f"{stem}/dequantize", attrs, [quantized, *parameters], [dequantized]),
    ]
    model.roles[f"{name}.scale"] = Role.SCALE
    return dequantized
