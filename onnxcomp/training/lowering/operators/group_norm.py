"""InstanceNormalization and GroupNormalization by means over the pixels of each channel or group.

Wu and He 2018, arXiv 1803.08494, equations 1 to 4, 6 and 7.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import shape_inference
from onnxcomp.training.lowering.base import Lowering
from onnxcomp.training.lowering.operators.reductions import reduce
from onnxcomp.training.lowering.operators.writer import Inputs, Writer, rewrite


def _instance_norm(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    x, scale, bias = inputs
    y = _normalise(write, write("Reshape", x, [0, 0, -1]), attrs)
    _scale(write, x, y, scale, bias)


def _group_norm(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    """One scale and bias a channel, as from opset 21 on; the checker refuses the form before.

    The shape of ``x`` need not be known: inference of shapes stops at this operator.
    """
    x, scale, bias = inputs
    y = _normalise(write, write("Reshape", x, [0, attrs["num_groups"], -1]), attrs)
    _scale(write, x, write("Reshape", y, [0, scale.shape[0], -1]), scale, bias)


def _normalise(write: Writer, x: gs.Tensor, attrs: dict[str, Any]) -> gs.Variable:
    """Over the last of three axes."""
    centred = write("Sub", x, reduce(write, "ReduceMean", x, [2], True))
    variance = reduce(write, "ReduceMean", write("Mul", centred, centred), [2], True)
    return write("Div", centred, write("Sqrt", write("Add", variance, attrs.get("epsilon", 1e-5))))


def _scale(write: Writer, x: gs.Tensor, y: gs.Tensor, scale: gs.Tensor, bias: gs.Tensor) -> None:
    """``y`` (N, channels, pixels), scaled and brought into the shape of ``x``."""
    scaled = write("Mul", y, write("Reshape", scale, [-1, 1]))
    moved = write("Add", scaled, write("Reshape", bias, [-1, 1]))
    write.into("Reshape", moved, write("Shape", x, dtype=np.int64))


def lower_group_norm(graph: gs.Graph) -> int:
    """Replace both outside the teacher, and infer the shapes behind them; returns how many."""
    rules = {"InstanceNormalization": _instance_norm, "GroupNormalization": _group_norm}
    count = rewrite(graph, rules)
    if count:
        shape_inference.fill(graph)
    return count


LOWERING = Lowering(
    "group norm",
    "InstanceNormalization and GroupNormalization, which have no gradient",
    lambda training: lower_group_norm(training.graph),
)
