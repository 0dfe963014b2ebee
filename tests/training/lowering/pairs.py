"""Every Q/DQ pair of a gradient graph, with what goes into it, comes out of it and flows back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from onnxcomp import extras, graphs
from onnxcomp.model import LABELS, Model, Role
from onnxcomp.training import quantization
from onnxcomp.training.lowering import lower
from onnxcomp.training.lowering.views import GRADIENT_SUFFIX
from onnxcomp.training.ort.gradients import differentiate
from tests.training import networks
from tests.training.lowering.forward import hidden


@dataclass(frozen=True)
class Seen:
    """A pair in a step.

    Attributes:
        name: of the dequantised tensor.
        source, result: the values before and after.
        gradient: of the loss by ``result``; None where the scale does not learn.
        scale: name of its constant.
        values: of the scale, shaped to be broadcast.
        zero: zero point.
        low, high: integers.
    """

    name: str
    source: np.ndarray
    result: np.ndarray
    gradient: np.ndarray | None
    scale: str
    values: np.ndarray
    zero: int
    low: int
    high: int

    @property
    def levels(self) -> np.ndarray:
        """``source`` in steps of the scale, float64."""
        return self.source.astype(np.float64) / self.values

    @property
    def inside(self) -> np.ndarray:
        """Where the paper's ``-Q_N < v / s < Q_P`` holds.

        In float32, in which a value that was rounded to the last level before is that level.
        """
        levels = self.source / self.values
        return (levels > self.low - self.zero) & (levels < self.high - self.zero)

    @property
    def parts(self) -> np.ndarray:
        """Each element's part of the gradient by the scale: LSQ, eq. 3, in float64.

        But for the rounding, which is that of ONNX: of the float32 quotient.
        """
        assert self.gradient is not None
        inner = np.rint(self.source / self.values) - self.levels
        ends = np.where(self.levels > 0, self.high - self.zero, self.low - self.zero)
        return self.gradient.astype(np.float64) * np.where(self.inside, inner, ends)


@dataclass(frozen=True)
class Run:
    """A step of the gradient graph: what its pairs saw, and the gradients."""

    pairs: list[Seen]
    gradients: dict[str, np.ndarray]
    logits: np.ndarray


def run(
    model: Model,
    arrays: dict[str, np.ndarray] | None = None,
    without: tuple[str, ...] = (),
) -> Run:
    """A step of ``model`` with some parameters replaced by ``arrays``."""
    training = lower(model, networks.BATCH, without=without)
    proto, trained = differentiate(training)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in proto.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    shapes = {e.name: [d.dim_value for d in e.type.tensor_type.shape.dim] for e in proto.graph.input}
    images, labels = networks.batch(size=model.image_shape[1])
    feeds = {**training.parameters, **hidden(training, images), **(arrays or {})}
    feeds = {name: array.reshape(shapes[name]) for name, array in feeds.items() if name in shapes}
    feeds |= {training.image: images, LABELS: labels}
    found = list(_pairs(model, proto, readers))
    wanted = {name for one in found for name in one[:3] if name}
    inputs = {e.name for e in proto.graph.input}
    proto.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in sorted(wanted - inputs)
    )
    values = feeds | _run(proto, feeds)
    seen = [
        Seen(
            name,
            values[source],
            values[name],
            values[back] if back else None,
            scale,
            feeds[scale] if axis is None else graphs.along(feeds[scale], axis, values[name].ndim),
            *limits,
        )
        for name, source, back, scale, axis, limits in found
    ]
    gradients = {name: values[name + GRADIENT_SUFFIX] for name in trained}
    shaped = {name: g.reshape(training.parameters[name].shape) for name, g in gradients.items()}
    return Run(seen, shaped, values[training.logits])


def _pairs(
    model: Model, proto: onnx.ModelProto, readers: dict[str, list[onnx.NodeProto]]
) -> Iterator[tuple[str, str, str, str, int | None, tuple[int, int, int]]]:
    levels = quantization.levels(model)
    weights = {n for n, role in model.roles.items() if role is Role.TRAINABLE}
    producers = {name: node for node in proto.graph.node for name in node.output}
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        last = readers[node.output[0]][0]
        while last.op_type != "DequantizeLinear":
            last = readers[last.output[0]][0]
        source = node.input[0]
        first = source
        while first in producers and producers[first].op_type in ("Mul", "Identity"):
            first = producers[first].input[0]
        zero = constants[node.input[2]]
        limits = np.iinfo(zero.dtype)
        ends = (-levels, levels) if first in weights else (int(limits.min), int(limits.max))
        axis = next((a.i for a in node.attribute if a.name == "axis"), None)
        change = f"{last.output[0]}.step.change"
        back = next((r.input[0] for r in readers.get(change, ()) if r.op_type == "Mul"), "")
        yield last.output[0], source, back, node.input[1], axis, (int(zero.flat[0]), *ends)


def _run(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    ort = extras.onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))
