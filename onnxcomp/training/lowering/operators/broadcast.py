"""Where and Pow whose inputs broadcast: their gradients in ONNX Runtime keep the shape of the output."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.operators.writer import Inputs, Writer, lowering


def _where(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    condition, *branches = inputs
    write.into("Where", condition, *(_wide(write, tensor) for tensor in branches))


def _pow(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    base, exponent = inputs
    if isinstance(exponent, gs.Constant) and exponent.dtype != np.float32:
        name = f"{edit.PREFIX}{write.output.name}.exponent"
        exponent = gs.Constant(name, exponent.values.astype(np.float32))
    write.into("Pow", _wide(write, base), exponent)


def _wide(write: Writer, tensor: gs.Tensor) -> gs.Tensor:
    return write("Expand", tensor, write.output.shape) if _narrow(tensor, write.output) else tensor


def _narrow(tensor: gs.Tensor, output: gs.Tensor) -> bool:
    return not isinstance(tensor, gs.Constant) and list(tensor.shape) != list(output.shape)


def _condition(node: gs.Node) -> bool:
    differentiated = node.inputs[1:] if node.op == "Where" else node.inputs[:1]
    whole = node.op == "Pow" and node.inputs[1].dtype != np.float32
    return whole or any(_narrow(tensor, node.outputs[0]) for tensor in differentiated)


LOWERING = lowering(
    "broadcast",
    "Where and Pow whose inputs broadcast, and Pow with a whole exponent, whose gradients fail",
    {"Where": _where, "Pow": _pow},
    _condition,
)
