"""Elu, Selu and Celu: linear above zero, an exponential below.

The exponential only ever sees numbers that are not positive, so it cannot overflow and spoil a gradient
that is multiplied by zero. At 0 the gradient is that of the lower branch, as in torch.
"""

from __future__ import annotations

from typing import Any

import onnx_graphsurgeon as gs

from onnxcomp.training.lowering.operators.writer import Inputs, Writer, lowering

SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875  # the operator's defaults


def _elu(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    write.into("Where", *_branches(write, inputs[0], attrs.get("alpha", 1.0), 1.0))


def _celu(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    alpha = attrs.get("alpha", 1.0)
    write.into("Where", *_branches(write, inputs[0], alpha, alpha))


def _selu(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    unscaled = write("Where", *_branches(write, inputs[0], attrs.get("alpha", SELU_ALPHA), 1.0))
    write.into("Mul", unscaled, attrs.get("gamma", SELU_GAMMA))


def _branches(write: Writer, x: gs.Tensor, alpha: float, width: float) -> tuple[gs.Tensor, ...]:
    """``x > 0``, ``x`` and ``alpha * (exp(min(x, 0) / width) - 1)``."""
    positive = write("Greater", x, 0, dtype=bool)
    below = write("Where", positive, 0, x)
    if width != 1:
        below = write("Div", below, width)
    tail = write("Mul", write("Sub", write("Exp", below), 1), alpha)
    return positive, x, tail


LOWERING = lowering(
    "exponential units",
    "Elu, Selu and Celu, which have no gradient",
    {"Elu": _elu, "Selu": _selu, "Celu": _celu},
)
