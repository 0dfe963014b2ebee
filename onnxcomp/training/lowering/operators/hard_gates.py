"""HardSigmoid and HardSwish, piecewise linear gates, with Clip."""

from __future__ import annotations

from typing import Any

import onnx_graphsurgeon as gs

from onnxcomp.training.lowering.operators.writer import Inputs, Writer, lowering


def _hard_sigmoid(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    line = _line(write, inputs[0], attrs.get("alpha", 0.2), attrs.get("beta", 0.5))
    write.into("Clip", line, 0, 1)


def _hard_swish(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    gate = write("Clip", _line(write, inputs[0], 1 / 6, 0.5), 0, 1)
    write.into("Mul", inputs[0], gate)


def _line(write: Writer, x: gs.Tensor, slope: float, offset: float) -> gs.Variable:
    return write("Add", write("Mul", x, slope), offset)


LOWERING = lowering(
    "hard gates",
    "HardSigmoid and HardSwish, which have no gradient",
    {"HardSigmoid": _hard_sigmoid, "HardSwish": _hard_swish},
)
