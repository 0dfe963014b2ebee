"""One network of a run: what was measured of it, and what its file says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from onnxcomp import files, graphs
from onnxcomp import model as models
from onnxcomp.macs import total
from onnxcomp.model import Model
from onnxcomp.page import histogram
from onnxcomp.page.histogram import Histogram
from onnxcomp.page.results import Accuracy, Evaluation, Latency, Parameters, Size
from onnxcomp.report.layers import Layer, layers
from onnxcomp.report.size import count_parameters, file_size, masked, stored_bytes
from onnxcomp.student import student


@dataclass(frozen=True)
class Described:
    """A layer of a file.

    Attributes:
        layer: see :class:`onnxcomp.report.layers.Layer`.
        weights: how the weight's values lie, in the units of float weights; None where all are 0.
        activation: name of the tensor that the layer reads, before it is quantised.
        scale: of its quantiser; None where it is not quantised, or by channel.
        zero_point: of its quantiser, and whether it is signed, as the lowest and highest integer.
    """

    layer: Layer
    weights: Histogram | None
    activation: str
    scale: float | None
    integers: tuple[int, int] = (0, 0)

    @property
    def reach(self) -> tuple[float, float] | None:
        """The smallest and largest value that its quantiser can hold."""
        if self.scale is None:
            return None
        return self.scale * self.integers[0], self.scale * self.integers[1]


@dataclass(frozen=True)
class Network:
    """A row of the table.

    Attributes:
        label: as the table calls it.
        run: the run it is of, as the report calls it.
        path: its file.
        digest: SHA-256 of the file.
        target: what it was finalized for, "" for a network before that.
        source: the file to finalize for other targets; None where it is gone.
        accuracy, latency: as the run measured them; None where it did not.
        size, parameters, macs: as the run measured them, or of the file.
        layers: of the file.
    """

    label: str
    run: str
    path: Path
    digest: str
    target: str
    source: Path | None
    accuracy: Accuracy | None
    latency: Latency | None
    size: Size
    parameters: Parameters
    macs: int | None
    layers: tuple[Described, ...]

    @property
    def compressed(self) -> bool:
        """Whether it was finalized: all others are dense."""
        return bool(self.target)

    def renamed(self, label: str) -> Network:
        """The same under another label."""
        return replace(self, label=label)


def read(
    path: Path, label: str, run: str, *, target: str, source: Path | None, measured: Evaluation | None
) -> tuple[Network, list[str]]:
    """Read a file; what was measured of another file of this name is left out, and a line says so.

    Raises:
        OnnxcompError: it is not there, or not a network.
    """
    model = models.load(path)
    problems = []
    if measured is not None and measured.file.raw != stored_bytes(path):
        problems.append(
            f"{path}: is not the file that results.json was written for; its figures are left out"
        )
        measured = None
    found = None if measured is not None and measured.macs is not None else total(student(model).graph)
    counted = count_parameters(model) if measured is None else measured.parameters
    size = file_size(path) if measured is None else measured.file
    network = Network(
        label=label,
        run=run,
        path=path,
        digest=files.sha256(path),
        target=target,
        source=source,
        accuracy=measured.accuracy if measured else None,
        latency=measured.latency if measured else None,
        size=Size(size.raw, size.deflated),
        parameters=Parameters(counted.total, counted.nonzero, counted.nonzero_int8),
        macs=found if measured is None or measured.macs is None else measured.macs,
        layers=tuple(describe(model)),
    )
    return network, problems


def describe(model: Model) -> list[Described]:
    """The layers of the student, in graph order."""
    graph = student(model).graph
    masks = graphs.masks(graph)
    return [
        _described(weight, layer, masks.get(weight.name))
        for weight, layer in zip(graphs.weights(graph), layers(model), strict=True)
    ]


def _described(weight: graphs.Weight, layer: Layer, mask: object) -> Described:
    values = masked(weight.tensor, mask)
    reader = weight.tensor.outputs[0]
    if values.dtype.kind != "f" and reader.op == "DequantizeLinear":
        axis = int(reader.attrs.get("axis", 1))
        values = values * graphs.along(reader.inputs[1].values, axis, values.ndim)
    tensor, scale, integers = weight.node.inputs[1 - weight.index], None, (0, 0)
    if tensor.inputs and tensor.inputs[0].op == "DequantizeLinear":
        quantize = tensor.inputs[0].inputs[0].inputs
        if quantize and quantize[0].op == "QuantizeLinear":
            node = quantize[0]
            tensor, (scale, integers) = node.inputs[0], _quantizer(node)
    return Described(layer, histogram.of_values(values), str(tensor.name), scale, integers)


def _quantizer(node: object) -> tuple[float | None, tuple[int, int]]:
    """The scale of a QuantizeLinear, and its integers less the zero point; (None, ...) of one by channel."""
    inputs = node.inputs  # type: ignore[attr-defined]
    scale = getattr(inputs[1], "values", None)
    if scale is None or np.size(scale) != 1:
        return None, (0, 0)
    zero = np.asarray(inputs[2].values).reshape(-1) if len(inputs) > 2 else np.zeros(1, np.uint8)
    if zero.dtype.kind not in "iu":
        return None, (0, 0)
    bounds = np.iinfo(zero.dtype)
    return float(np.reshape(scale, -1)[0]), (bounds.min - int(zero[0]), bounds.max - int(zero[0]))
