"""Softplus, Mish, Softsign and the tanh form of Gelu by operators that have a gradient."""

from __future__ import annotations

import math
from typing import Any

import onnx_graphsurgeon as gs

from onnxcomp.training.lowering.operators.writer import Inputs, Rule, Writer, lowering


def _softplus_into(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    write.into("Add", *_softplus(write, inputs[0]))


def _softplus(write: Writer, x: gs.Tensor) -> tuple[gs.Tensor, gs.Tensor]:
    """The terms ``max(x, 0)`` and ``log(1 + exp(-|x|))`` of ``log(1 + exp(x))``.

    The same comparison chooses the sign in both, so that their gradients join to the sigmoid at 0
    too, where those of Relu and Abs would give 0.
    """
    positive = write("Greater", x, 0, dtype=bool)
    decay = write("Exp", write("Where", positive, write("Neg", x), x))
    return write("Where", positive, x, 0), write("Log", write("Add", decay, 1))


def _mish(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    gate = write("Tanh", write("Add", *_softplus(write, inputs[0])))
    write.into("Mul", inputs[0], gate)


def _softsign(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    write.into("Div", inputs[0], write("Add", write("Abs", inputs[0]), 1))


def _gelu(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    """``x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`` (Hendrycks and Gimpel 2016, section 2)."""
    (x,) = inputs
    cubic = write("Mul", write("Mul", write("Mul", x, x), x), 0.044715)
    bent = write("Tanh", write("Mul", write("Add", x, cubic), math.sqrt(2 / math.pi)))
    write.into("Mul", write("Mul", x, 0.5), write("Add", bent, 1))


def _lacks_gradient(node: gs.Node) -> bool:
    return bool(node.op != "Gelu" or node.attrs.get("approximate", "none") == "tanh")


RULES: dict[str, Rule] = {
    "Softplus": _softplus_into,
    "Mish": _mish,
    "Softsign": _softsign,
    "Gelu": _gelu,
}
LOWERING = lowering(
    "smooth units",
    "Softplus, Mish and Softsign, which have no gradient, and Gelu by tanh, which gets that by erf",
    RULES,
    _lacks_gradient,
)
